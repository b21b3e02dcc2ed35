using System.Globalization;

namespace Bellman.Training.Data;

/// <summary>Why a record is no trajectory.</summary>
public enum DropReason
{
    /// <summary>More tokens than the limit.</summary>
    Overlong,

    /// <summary>The response was cut before its end.</summary>
    Unfinished,

    /// <summary>The response is empty.</summary>
    Empty,

    /// <summary>The reward is below the one asked for.</summary>
    LowReward,

    /// <summary>An equal trajectory was kept already.</summary>
    Duplicate,

    /// <summary>A rule chose other responses to the same question.</summary>
    NotSelected,
}

/// <summary>What became of the records of one or more data files. Filled while they are read.</summary>
public sealed class DataReport
{
    private readonly int[] _dropped = new int[Enum.GetValues<DropReason>().Length];
    private readonly HashSet<string> _groups = new(StringComparer.Ordinal);
    private double _rewards;

    /// <summary>Records read.</summary>
    public int Read { get; internal set; }

    /// <summary>Trajectories kept.</summary>
    public int Kept { get; private set; }

    /// <summary>Tokens of all kept trajectories.</summary>
    public long Tokens { get; private set; }

    /// <summary>Tokens of the shortest.</summary>
    public int ShortestTokens { get; private set; }

    /// <summary>Tokens of the longest.</summary>
    public int LongestTokens { get; private set; }

    /// <summary>Mean number of tokens; 0 when nothing was kept.</summary>
    public double MeanTokens => Kept == 0 ? 0 : (double)Tokens / Kept;

    /// <summary>Mean reward; 0 when nothing was kept.</summary>
    public double MeanReward => Kept == 0 ? 0 : _rewards / Kept;

    /// <summary>Smallest reward kept.</summary>
    public double LowestReward { get; private set; } = double.PositiveInfinity;

    /// <summary>Largest reward kept.</summary>
    public double HighestReward { get; private set; } = double.NegativeInfinity;

    /// <summary>Action tokens.</summary>
    public long ActionTokens { get; private set; }

    /// <summary>States.</summary>
    public long States { get; private set; }

    /// <summary>Different questions.</summary>
    public int Groups => _groups.Count;

    /// <summary>Records that were dropped, all reasons together.</summary>
    public int DroppedTotal => _dropped.Sum();

    /// <summary>Records dropped for one reason.</summary>
    public int Dropped(DropReason reason) => _dropped[(int)reason];

    /// <summary>Everything in one line.</summary>
    public override string ToString()
    {
        string reasons = Reasons();
        string dropped = reasons.Length == 0 ? "none dropped" : $"dropped {reasons}";
        return Kept == 0
            ? $"{Read} records read, none kept; {dropped}"
            : string.Create(CultureInfo.InvariantCulture,
                $"{Read} records read, {Kept} kept of {Groups} questions; {dropped}; tokens {ShortestTokens} to {LongestTokens}, mean {MeanTokens:F1}; {ActionTokens} actions, {States} states; {(LowestReward < HighestReward ? $"mean reward {MeanReward:F3}" : $"every reward {LowestReward:0.###}")}");
    }

    /// <summary>What to do where nothing was kept, by the reason that dropped most.</summary>
    /// <param name="maxLength">The limit in effect, in tokens.</param>
    internal string Remedy(int maxLength) => Enum.GetValues<DropReason>().MaxBy(Dropped) switch
    {
        _ when DroppedTotal == 0 => "the files hold no records",
        DropReason.Overlong => $"raise data.max_length ({maxLength} in effect), or take a model with more positions",
        DropReason.Unfinished => "sample with more tokens an answer (rollout --max-tokens, iterate.max_tokens), or with a model that has learned to end",
        DropReason.Empty => "check data.fields.response",
        DropReason.LowReward => "no response was rewarded enough; sample more, or with a better model",
        _ => "check the fields and the choice of responses in section data",
    };

    internal void Drop(DropReason reason, int count = 1) => _dropped[(int)reason] += count;

    /// <summary>A report with the same reading and drops and nothing kept yet.</summary>
    internal DataReport WithoutKept()
    {
        var report = new DataReport { Read = Read };
        _dropped.CopyTo(report._dropped, 0);
        return report;
    }

    internal void Keep(Trajectory trajectory)
    {
        int length = trajectory.Length;
        ShortestTokens = Kept == 0 ? length : Math.Min(ShortestTokens, length);
        LongestTokens = Math.Max(LongestTokens, length);
        Kept++;
        Tokens += length;
        ActionTokens += trajectory.ActionCount;
        States += trajectory.StateCount;
        _rewards += trajectory.Reward;
        LowestReward = Math.Min(LowestReward, trajectory.Reward);
        HighestReward = Math.Max(HighestReward, trajectory.Reward);
        if (trajectory.Group is { } group) _groups.Add(group);
    }

    private string Reasons()
    {
        var parts = new List<string>();
        foreach (DropReason reason in Enum.GetValues<DropReason>())
        {
            if (Dropped(reason) == 0) continue;
            string name = reason switch
            {
                DropReason.Overlong => "over-long",
                DropReason.Unfinished => "unfinished",
                DropReason.Empty => "with an empty response",
                DropReason.LowReward => "with a low reward",
                DropReason.Duplicate => "as duplicates",
                _ => "by the rule for a question's responses",
            };
            parts.Add($"{Dropped(reason)} {name}");
        }
        return string.Join(", ", parts);
    }
}
