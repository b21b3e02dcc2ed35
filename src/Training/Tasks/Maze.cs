using Bellman.Kernels;
using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>The knobs of <see cref="Maze"/>.</summary>
public sealed record MazeSettings
{
    /// <summary>Side of the board, 2 to 9.</summary>
    public int Size { get; init; } = 5;

    /// <summary>Number of blocked cells.</summary>
    public int Walls { get; init; } = 5;

    /// <summary>Fewest moves of the shortest way.</summary>
    public int MinDistance { get; init; } = 3;

    /// <summary>Most moves of the shortest way.</summary>
    public int MaxDistance { get; init; } = 7;

    /// <summary>Moves granted beyond the shortest way in half of the problems.</summary>
    public int Slack { get; init; }

    /// <summary>Chance that the walker knows the shortest way.</summary>
    public double ShortestWay { get; init; } = 0.25;

    /// <summary>Chance that the walker heads for the goal by its coordinates, blind to what walls lie between.</summary>
    public double Nearer { get; init; } = 0.60;

    private GridRules Rules => new(Size, Walls, MinDistance, MaxDistance, Slack);

    /// <summary>What the settings say of the board.</summary>
    /// <exception cref="BellmanException">A knob is out of range.</exception>
    internal GridRules Validate()
    {
        Rules.Validate(Maze.TaskName);
        if (!(ShortestWay >= 0 && Nearer >= 0 && ShortestWay + Nearer <= 1 + 1e-12))
            throw new BellmanException($"task {Maze.TaskName}: the chances must be at least 0 and together at most 1, "
                + FormattableString.Invariant($"received shortest way {ShortestWay}, nearer {Nearer}; correct the task's settings."));
        return Rules;
    }
}

/// <summary>
/// The walk of <see cref="Board"/> with more walls, no slack, and a walker that heads for the goal as the crow flies: dead
/// ends are met late, which is where looking ahead with a value model pays.
/// </summary>
public sealed class Maze : GridTask
{
    internal const string TaskName = "maze";
    private readonly MazeSettings _settings;

    /// <summary>A task with the given knobs, or the default ones.</summary>
    /// <exception cref="BellmanException">A knob is out of range.</exception>
    public Maze(MazeSettings? settings = null)
        : base(TaskName, (settings ??= new MazeSettings()).Validate()) => _settings = settings;

    /// <inheritdoc/>
    public override string Demonstrate(TaskProblem problem, PhiloxRandom random)
    {
        GridProblem board = (GridProblem)problem;
        return Walk(board, (cell, last) =>
        {
            double u = random.NextDouble();
            if (u < _settings.ShortestWay) return DrawDirection(board, cell, random, (_, next) => board.Distance(next) < board.Distance(cell));
            if (u < _settings.ShortestWay + _settings.Nearer)
            {
                // U/D and L/R are neighbours in the order of directions, so the way back differs in the last bit.
                int back = last < 0 ? -1 : last ^ 1, here = board.CoordinateDistance(cell);
                int choice = DrawDirection(board, cell, random, (direction, next) => direction != back && board.CoordinateDistance(next) < here);
                if (choice < 0) choice = DrawDirection(board, cell, random, (direction, _) => direction != back);
                if (choice >= 0) return choice;
            }
            return DrawDirection(board, cell, random, static (_, _) => true);
        });
    }
}
