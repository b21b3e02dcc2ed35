using System.Globalization;
using System.Text;
using Bellman.Kernels;
using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>
/// What all walking tasks share: vocabulary, generator, splits, text of a walk, grader. A task adds its demonstrator.
/// </summary>
public abstract class GridTask : IReasoningTask
{
    // Shares of the problem space, cumulative, in the order of TaskSplit.
    private static readonly double[] SplitEnds = [0.6, 0.8, 0.9, 1.0];

    // Draws allowed per problem asked for before the settings are declared too narrow. A split of a tenth needs about 20
    // where half of all boards fit the distances; the rest is room for duplicates.
    private const int DrawsPerProblem = 2000;

    /// <summary>Added to a direction, it means a leap: two cells in one move, written with a doubled letter.</summary>
    internal const int LeapOffset = 4;

    private readonly GridRules _rules;

    private protected GridTask(string name, GridRules rules)
    {
        Name = name;
        _rules = rules;
        Vocabulary = BuildVocabulary(rules);
    }

    /// <inheritdoc/>
    public string Name { get; }

    /// <inheritdoc/>
    public IReadOnlyList<string> Vocabulary { get; }

    /// <inheritdoc/>
    public string SplitPattern => ReasoningTasks.GridSplitPattern;

    /// <inheritdoc/>
    public IReadOnlyList<TaskProblem> Problems(TaskSplit split, int count, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        // The high word keeps these draws apart from streams numbered by problem or sample.
        PhiloxRandom random = new(seed, (0x7A5Cul << 48) | (uint)split);
        double low = split == 0 ? 0 : SplitEnds[(int)split - 1], high = SplitEnds[(int)split];
        List<TaskProblem> problems = new(count);
        HashSet<(int, int, string)> seen = [];
        for (long draws = 0; problems.Count < count; draws++)
        {
            if (draws > 100_000 + (long)DrawsPerProblem * count)
                throw new BellmanException($"task {Name}: expected {count} different {split} problems, found {problems.Count} in {draws} draws; "
                    + "ask for fewer, or allow a larger board or a wider range of distances.");
            GridProblem? problem = Draw(random);
            if (problem is null) continue;
            double fraction = problem.SplitFraction();
            if (fraction < low || fraction >= high) continue;
            // Two budgets on one board are one board.
            if (seen.Add((problem.Start, problem.Goal, string.Join(' ', problem.Walls)))) problems.Add(problem);
        }
        return problems;
    }

    /// <inheritdoc/>
    public TaskProblem Parse(string prompt)
    {
        string line = prompt.EndsWith('\n') ? prompt[..^1] : prompt;
        int arrow = line.IndexOf('>'), blank = line.IndexOf(' '), colon = line.IndexOf(':');
        if (arrow != 2 || blank != 5 || colon < 7) throw NotAPrompt(prompt);
        int start = GridProblem.ParseCell(line.AsSpan(0, 2), _rules.Size), goal = GridProblem.ParseCell(line.AsSpan(3, 2), _rules.Size);
        if (start < 0 || goal < 0 || start == goal
            || !int.TryParse(line.AsSpan(6, colon - 6), NumberStyles.None, CultureInfo.InvariantCulture, out int moves)) throw NotAPrompt(prompt);
        List<int> walls = [];
        foreach (string name in line[(colon + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            int wall = GridProblem.ParseCell(name, _rules.Size);
            if (wall < 0 || wall == start || wall == goal || (walls.Count > 0 && wall <= walls[^1])) throw NotAPrompt(prompt);
            walls.Add(wall);
        }
        GridProblem problem = new(_rules.Size, start, goal, moves, [.. walls]);
        // What does not print back as it came (a budget with a leading zero, doubled blanks) was not written by this task.
        return problem.ToString() == line ? problem : throw NotAPrompt(prompt);
    }

    /// <summary>Writes the walk that a demonstrator's choices give: it stops at the goal or when the budget is spent.</summary>
    /// <param name="problem">The board.</param>
    /// <param name="choose">Given the cell and the last choice (−1 at the start), the next direction, which must be legal; plus <see cref="LeapOffset"/> for a leap.</param>
    internal static string Walk(GridProblem problem, Func<int, int, int> choose)
    {
        StringBuilder text = new();
        int cell = problem.Start, last = -1;
        for (int move = 0; move < problem.Moves && cell != problem.Goal; move++)
        {
            last = choose(cell, last);
            bool leap = last >= LeapOffset;
            int direction = last % LeapOffset;
            cell = leap ? problem.Leap(cell, direction) : problem.Step(cell, direction);
            text.Append(GridProblem.Directions[direction], leap ? 2 : 1).Append(problem.CellName(cell)).Append('\n');
        }
        return text.Append("####").Append(problem.CellName(cell)).ToString();
    }

    /// <summary>The legal directions at a cell that pass a condition on the cell they lead to, drawn from with equal chance; −1 if none.</summary>
    internal static int DrawDirection(GridProblem problem, int cell, PhiloxRandom random, Func<int, int, bool> accept)
    {
        Span<int> options = stackalloc int[GridProblem.Directions.Length];
        int count = 0;
        for (int direction = 0; direction < GridProblem.Directions.Length; direction++)
        {
            int next = problem.Step(cell, direction);
            if (next >= 0 && accept(direction, next)) options[count++] = direction;
        }
        return count == 0 ? -1 : options[random.Next(count)];
    }

    /// <inheritdoc/>
    public abstract string Demonstrate(TaskProblem problem, PhiloxRandom random);

    /// <inheritdoc/>
    public GradeResult Grade(TaskProblem problem, string response) => Grade((GridProblem)problem, response);

    private GradeResult Grade(GridProblem problem, string response)
    {
        int cell = problem.Start, step = 0;
        for (int at = 0; ; step++)
        {
            int end = response.IndexOf('\n', at);
            ReadOnlySpan<char> line = response.AsSpan(at, (end < 0 ? response.Length : end) - at);
            if (line.StartsWith("####"))
            {
                if (end >= 0) return Wrong(step + 1, "text after the answer");
                int answer = GridProblem.ParseCell(line[4..], problem.Size);
                if (answer != cell) return Wrong(step, $"the answer is not the cell {problem.CellName(cell)} that the robot is on");
                return cell == problem.Goal ? new GradeResult(true, null, "correct") : Wrong(step, $"the walk ends on {problem.CellName(cell)}, not on the goal");
            }
            if (line.IsEmpty) return Wrong(step, end < 0 ? "no answer" : "empty step");
            if (step == problem.Moves) return Wrong(step, $"more than {problem.Moves} moves");
            int direction = GridProblem.Directions.IndexOf(line[0]);
            bool leap = _rules.Leaps && line.Length == 4 && line[1] == line[0];
            if (direction < 0 || line.Length != (leap ? 4 : 3)) return Wrong(step, "not a move");
            int next = leap ? problem.Leap(cell, direction) : problem.Step(cell, direction);
            if (next < 0) return Wrong(step, $"{line[0]} from {problem.CellName(cell)} runs into a wall or the edge");
            if (GridProblem.ParseCell(line[^2..], problem.Size) != next)
                return Wrong(step, $"{line[0]} from {problem.CellName(cell)} leads to {problem.CellName(next)}");
            if (leap && !problem.Holds(cell, direction, direction < 2 ? _rules.UprightHolds : _rules.SidewaysHolds))
                return Wrong(step, $"the leap from {problem.CellName(cell)} to {problem.CellName(next)} fails");
            cell = next;
            if (end < 0) return Wrong(step + 1, "no answer");
            at = end + 1;
        }

        static GradeResult Wrong(int step, string reason) => new(false, step, reason);
    }

    private GridProblem? Draw(PhiloxRandom random)
    {
        // Partial Fisher–Yates: the first places receive different cells, every arrangement with equal chance.
        int cells = _rules.Size * _rules.Size;
        Span<int> order = stackalloc int[GridProblem.MaxSize * GridProblem.MaxSize];
        for (int i = 0; i < cells; i++) order[i] = i;
        for (int i = 0; i < _rules.Walls + 2; i++)
        {
            int j = i + random.Next(cells - i);
            (order[i], order[j]) = (order[j], order[i]);
        }
        int slack = random.Next(2) == 0 ? 0 : _rules.Slack;
        int[] walls = order.Slice(2, _rules.Walls).ToArray();
        Array.Sort(walls);
        // Built once to learn the distance, again with the budget; the first is dropped young.
        if (new GridProblem(_rules.Size, order[0], order[1], 0, walls).ShortestWay is not int shortest) return null;
        return shortest < _rules.MinDistance || shortest > _rules.MaxDistance
            ? null
            : new GridProblem(_rules.Size, order[0], order[1], shortest + slack, walls);
    }

    private BellmanException NotAPrompt(string text) =>
        new($"task {Name}: expected a prompt like '31>65 7:11 46' on a {_rules.Size}×{_rules.Size} board, received '{Short(text)}'; "
            + "check the file, or the task's settings.");

    private static string Short(string text) => (text.Length > 60 ? text[..60] + "…" : text).ReplaceLineEndings(" ");

    private static List<string> BuildVocabulary(GridRules rules)
    {
        List<string> symbols = [ReasoningTasks.PadToken, ReasoningTasks.EndToken, "\n", " ", ">", ":", "####"];
        foreach (char direction in GridProblem.Directions) symbols.Add(direction.ToString());
        SortedSet<int> numbers = [];
        for (int row = 1; row <= rules.Size; row++)
            for (int column = 1; column <= rules.Size; column++) numbers.Add(row * 10 + column);
        // Budgets; 0 to 10 always, so that small changes of distance or slack keep a checkpoint's vocabulary.
        for (int budget = 0; budget <= Math.Max(10, rules.MaxDistance + rules.Slack); budget++) numbers.Add(budget);
        foreach (int number in numbers) symbols.Add(number.ToString(CultureInfo.InvariantCulture));
        return symbols;
    }
}

/// <summary>The board of a walking task.</summary>
/// <param name="Size">Side of the board.</param>
/// <param name="Walls">Number of blocked cells.</param>
/// <param name="MinDistance">Fewest moves of the shortest way.</param>
/// <param name="MaxDistance">Most moves of the shortest way.</param>
/// <param name="Slack">Moves granted beyond the shortest way in half of the problems.</param>
internal readonly record struct GridRules(int Size, int Walls, int MinDistance, int MaxDistance, int Slack)
{
    /// <summary>Whether a move may go two cells at once.</summary>
    internal bool Leaps { get; init; }

    /// <summary>Chance that a leap up or down comes off.</summary>
    internal double UprightHolds { get; init; }

    /// <summary>Chance that a leap to the left or right comes off.</summary>
    internal double SidewaysHolds { get; init; }

    /// <summary>Refuses settings that allow no problem.</summary>
    internal void Validate(string task)
    {
        if (Size is < 2 or > GridProblem.MaxSize) Refuse(task, "size", $"2 to {GridProblem.MaxSize}", Size);
        int cells = Size * Size;
        if (Walls < 0 || Walls > cells - 3) Refuse(task, "walls", $"0 to {cells - 3} on {cells} cells", Walls);
        if (MinDistance < 1) Refuse(task, "min distance", "at least 1", MinDistance);
        if (MaxDistance < MinDistance || MaxDistance >= cells) Refuse(task, "max distance", $"{MinDistance} (the min distance) to {cells - 1}", MaxDistance);
        if (Slack is < 0 or > 99) Refuse(task, "slack", "0 to 99", Slack);
    }

    private static void Refuse(string task, string what, string expected, int received) =>
        throw new BellmanException($"task {task}: {what} must be {expected}, received {received}; correct the task's settings.");
}
