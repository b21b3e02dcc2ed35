using Bellman.Kernels;
using Bellman.Kernels.Random;

namespace Bellman.Training.Tasks;

/// <summary>The knobs of <see cref="Leaps"/>.</summary>
public sealed record LeapsSettings
{
    /// <summary>Side of the board, 2 to 9.</summary>
    public int Size { get; init; } = 5;

    /// <summary>Number of blocked cells.</summary>
    public int Walls { get; init; } = 2;

    /// <summary>Fewest moves of the shortest way without leaps.</summary>
    public int MinDistance { get; init; } = 3;

    /// <summary>Most moves of the shortest way without leaps.</summary>
    public int MaxDistance { get; init; } = 6;

    /// <summary>Moves granted beyond that way in half of the problems; the other half gets none.</summary>
    public int Slack { get; init; } = 2;

    /// <summary>Chance that a leap up or down comes off.</summary>
    public double UprightHolds { get; init; } = 0.9;

    /// <summary>Chance that a leap to the left or right comes off.</summary>
    public double SidewaysHolds { get; init; } = 0.5;

    /// <summary>Chance that the walker leaps where a leap brings it two cells nearer.</summary>
    public double Bold { get; init; } = 0.7;

    /// <summary>Chance that the walker takes any legal step.</summary>
    public double Noise { get; init; } = 0.1;

    private GridRules Rules => new(Size, Walls, MinDistance, MaxDistance, Slack) { Leaps = true, UprightHolds = UprightHolds, SidewaysHolds = SidewaysHolds };

    /// <summary>What the settings say of the board.</summary>
    /// <exception cref="BellmanException">A knob is out of range.</exception>
    internal GridRules Validate()
    {
        Rules.Validate(Leaps.TaskName);
        if (!(UprightHolds is >= 0 and <= 1 && SidewaysHolds is >= 0 and <= 1 && Bold >= 0 && Noise >= 0 && Bold + Noise <= 1 + 1e-12))
            throw new BellmanException($"task {Leaps.TaskName}: the chances must lie between 0 and 1, bold and noise together too, "
                + FormattableString.Invariant($"received upright {UprightHolds}, sideways {SidewaysHolds}, bold {Bold}, noise {Noise}; correct the task's settings."));
        return Rules;
    }
}

/// <summary>
/// A walk on which a move may leap two cells. Whether a leap comes off cannot be seen in the problem; leaps to the side fail
/// more often. Plain steps always suffice, yet the demonstrator mostly leaps. So bad choices often succeed: what keeps the
/// answers that happened to be right keeps the habit with them, and only a method that tells which step carried the risk
/// gives it up.
/// </summary>
public sealed class Leaps : GridTask
{
    internal const string TaskName = "leaps";
    private readonly LeapsSettings _settings;

    /// <summary>A task with the given knobs, or the default ones.</summary>
    /// <exception cref="BellmanException">A knob is out of range.</exception>
    public Leaps(LeapsSettings? settings = null)
        : base(TaskName, (settings ??= new LeapsSettings()).Validate()) => _settings = settings;

    /// <inheritdoc/>
    public override string Demonstrate(TaskProblem problem, PhiloxRandom random)
    {
        GridProblem board = (GridProblem)problem;
        return Walk(board, (cell, _) =>
        {
            double u = random.NextDouble();
            if (u < _settings.Noise) return DrawDirection(board, cell, random, static (_, _) => true);
            if (u < _settings.Noise + _settings.Bold)
            {
                int leap = DrawDirection(board, cell, random,
                    (direction, _) => board.Leap(cell, direction) is int target and >= 0 && board.Distance(target) == board.Distance(cell) - 2);
                if (leap >= 0) return leap + LeapOffset;
            }
            return DrawDirection(board, cell, random, (_, next) => board.Distance(next) < board.Distance(cell));
        });
    }
}
