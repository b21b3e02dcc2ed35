namespace Bellman.Training.Data;

/// <summary>The trajectories of one or more files in file order, and the report on what was left out.</summary>
public sealed class TrajectoryDataset
{
    private TrajectoryDataset(List<Trajectory> trajectories, DataReport report) => (Trajectories, Report) = (trajectories, report);

    /// <summary>What was kept, in the order of the files.</summary>
    public IReadOnlyList<Trajectory> Trajectories { get; }

    /// <summary>Counts.</summary>
    public DataReport Report { get; }

    /// <summary>Reads, tokenises and filters files.</summary>
    /// <param name="paths">The files, read in this order.</param>
    /// <param name="tokenizer">Makes trajectories of records.</param>
    /// <param name="options">Which records are used.</param>
    /// <param name="progress">Called now and then with the report so far.</param>
    /// <param name="cancellation">Stops the reading.</param>
    /// <exception cref="DataException">A file or line is wrong, a record is to be refused, or nothing is left.</exception>
    public static TrajectoryDataset Load(IEnumerable<string> paths, TrajectoryTokenizer tokenizer, DatasetOptions options,
        Action<DataReport>? progress = null, CancellationToken cancellation = default)
    {
        const int ProgressEvery = 256;
        var kept = new List<Trajectory>();
        var report = new DataReport();
        var seen = new HashSet<Trajectory>(new SameTokens());
        var files = new List<string>();
        foreach (string path in paths)
        {
            files.Add(path);
            int read = 0;
            foreach (DataRecord record in TrajectoryFile.Read(path, options.Format, options.Fields))
            {
                cancellation.ThrowIfCancellationRequested();
                report.Read++;
                Check(record, path);
                if (record is PreferenceRecord pair && options.TakePairs) Both(pair, path);
                else if (One(record, path, options.Deduplicate) is { } trajectory) Keep(trajectory);
                if (report.Read % ProgressEvery == 0) progress?.Invoke(report);
                if (++read == options.Limit) break;
            }
        }
        progress?.Invoke(report);
        if (kept.Count == 0)
            throw new DataException($"{string.Join(", ", files)}: no trajectory is left to train on: {report}; {report.Remedy(tokenizer.Options.MaxLength)}.");
        return new TrajectoryDataset(kept, report);

        void Keep(Trajectory trajectory)
        {
            kept.Add(trajectory);
            report.Keep(trajectory);
        }

        void Check(DataRecord record, string path)
        {
            float? reward = Reward(record);
            if (options.RequireReward && reward is null && record is not PreferenceRecord)
                throw new DataException($"{path}: line {record.Line}: field '{options.Fields.Reward}' is missing (nor is there '{options.Fields.Label}'); this objective needs rewards, map the field with data.fields.reward.");
            if (reward is { } given && options.RewardRange is { } range && !(given >= range.Least && given <= range.Most))
                throw new DataException($"{path}: line {record.Line}: expected a reward from {range.Least} to {range.Most}, received {given}; correct the line, or declare another data.reward_range.");
            if (options.HeldOut?.Find(record) is { } place)
                throw new DataException($"{path}: line {record.Line}: this question is also in {place}, which is for evaluation; remove it here, or set data.allow_overlap to true.");
        }

        // The two sides of a pair stay or go together. Each pair is a question of its own, so that no others are built from it.
        void Both(PreferenceRecord pair, string path)
        {
            if (pair.Chosen.Trim() == pair.Rejected.Trim() && pair.Chosen.Trim().Length > 0)
                throw new DataException($"{path}: line {pair.Line}: chosen and rejected are the same response; a pair needs two different sides.");
            string group = $"{path}:{pair.Line}";
            if (One(new ResponseRecord(pair.Line, group, pair.Prompt, pair.Chosen, 1, null), path, deduplicate: false) is not { } chosen
                || One(new ResponseRecord(pair.Line, group, pair.Prompt, pair.Rejected, 0, null), path, deduplicate: false) is not { } rejected) return;
            Keep(chosen);
            Keep(rejected);
        }

        Trajectory? One(DataRecord record, string path, bool deduplicate)
        {
            Trajectory? trajectory;
            DropReason reason;
            string? problem;
            try
            {
                (trajectory, reason, problem) = tokenizer.TryTokenize(record);
            }
            catch (DataException error)
            {
                throw new DataException($"{path}: {error.Message}", error);
            }
            if (trajectory is null)
            {
                DropPolicy policy = reason == DropReason.Empty ? options.Empty : options.Overlong;
                string remedy = reason == DropReason.Empty ? " Set data.empty to drop to leave such lines out." : "";
                if (policy == DropPolicy.Refuse) throw new DataException($"{path}: line {record.Line}: {problem}{remedy}");
                report.Drop(reason);
                return null;
            }
            if (options.MinReward is { } least && trajectory.Reward < least) return Dropped(DropReason.LowReward);
            return deduplicate && !seen.Add(trajectory) ? Dropped(DropReason.Duplicate) : trajectory;
        }

        Trajectory? Dropped(DropReason reason)
        {
            report.Drop(reason);
            return null;
        }
    }

    /// <summary>Keeps what a rule chooses of each question's responses; the report counts the others.</summary>
    /// <param name="rule">The rule.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="rightAt">Responses with at least this reward are right.</param>
    public TrajectoryDataset Select(SelectionRule rule, ulong seed, double rightAt = 0.5)
    {
        if (rule.KeepsAll) return this;
        List<Trajectory> kept = [.. SampleSelection.Select(Trajectories, rule, seed, rightAt)];
        DataReport report = Report.WithoutKept();
        report.Drop(DropReason.NotSelected, Trajectories.Count - kept.Count);
        foreach (Trajectory trajectory in kept) report.Keep(trajectory);
        return new TrajectoryDataset(kept, report);
    }

    private static float? Reward(DataRecord record) => record switch
    {
        ResponseRecord response => response.Reward,
        ConversationRecord conversation => conversation.Reward,
        _ => null,
    };

    /// <summary>Equal ids, actions and reward.</summary>
    private sealed class SameTokens : IEqualityComparer<Trajectory>
    {
        public bool Equals(Trajectory? x, Trajectory? y) => x is not null && y is not null && x.Reward.Equals(y.Reward)
            && x.Ids.AsSpan().SequenceEqual(y.Ids) && x.ActionMask.AsSpan().SequenceEqual(y.ActionMask);

        public int GetHashCode(Trajectory trajectory)
        {
            var hash = new HashCode();
            foreach (int id in trajectory.Ids) hash.Add(id);
            return hash.ToHashCode();
        }
    }
}
