using Bellman.Kernels;
using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>The knobs of <see cref="Board"/>; the defaults are the embedded task.</summary>
public sealed record BoardSettings
{
    /// <summary>Side of the board, 2 to 9.</summary>
    public int Size { get; init; } = 6;

    /// <summary>Number of blocked cells.</summary>
    public int Walls { get; init; } = 2;

    /// <summary>Fewest moves of the shortest way.</summary>
    public int MinDistance { get; init; } = 3;

    /// <summary>Most moves of the shortest way.</summary>
    public int MaxDistance { get; init; } = 7;

    /// <summary>Moves granted beyond the shortest way in half of the problems; the other half gets none.</summary>
    public int Slack { get; init; } = 2;

    /// <summary>Chance that the demonstrator repeats a move to the left or right.</summary>
    public double Habit { get; init; } = 0.6;

    /// <summary>Chance that the demonstrator repeats a move up or down.</summary>
    public double VerticalHabit { get; init; } = 0.15;

    /// <summary>Chance that the demonstrator takes any legal move.</summary>
    public double Noise { get; init; } = 0.1;

    private GridRules Rules => new(Size, Walls, MinDistance, MaxDistance, Slack);

    /// <summary>What the settings say of the board.</summary>
    /// <exception cref="BellmanException">A knob is out of range.</exception>
    internal GridRules Validate()
    {
        Rules.Validate(Board.TaskName);
        if (!(Noise >= 0 && Habit >= 0 && VerticalHabit >= 0 && Noise + Habit <= 1 && Noise + VerticalHabit <= 1))
            throw new BellmanException($"task {Board.TaskName}: noise and habits must be at least 0 and together at most 1, "
                + FormattableString.Invariant($"received noise {Noise}, habit {Habit}, vertical habit {VerticalHabit}; correct the task's settings."));
        return Rules;
    }
}

/// <summary>
/// A robot must reach a goal round walls within a budget of moves. Its demonstrator, once moving sideways, tends to keep
/// going, so about two thirds of its walks succeed: a policy that imitates it inherits the habit, and a value model can
/// learn where the habit is fatal.
/// </summary>
public sealed class Board : GridTask
{
    internal const string TaskName = "board";
    private readonly BoardSettings _settings;

    /// <summary>A task with the given knobs, or the embedded one.</summary>
    /// <exception cref="BellmanException">A knob is out of range.</exception>
    public Board(BoardSettings? settings = null)
        : base(TaskName, (settings ??= new BoardSettings()).Validate()) => _settings = settings;

    /// <inheritdoc/>
    public override string Demonstrate(TaskProblem problem, PhiloxRandom random)
    {
        GridProblem board = (GridProblem)problem;
        return Walk(board, (cell, last) =>
        {
            double u = random.NextDouble();
            if (u < _settings.Noise) return DrawDirection(board, cell, random, static (_, _) => true);
            bool sideways = last >= 2;
            if (last >= 0 && board.Step(cell, last) >= 0 && u < _settings.Noise + (sideways ? _settings.Habit : _settings.VerticalHabit)) return last;
            return DrawDirection(board, cell, random, (_, next) => board.Distance(next) < board.Distance(cell));
        });
    }
}
