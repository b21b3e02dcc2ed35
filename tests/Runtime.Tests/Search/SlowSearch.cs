using Bellman.Kernels;
using Bellman.Kernels.Ops.Sample;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search.Strategies;
using Bellman.Runtime.Tests.Models;

namespace Bellman.Runtime.Tests.Search;

/// <summary>A partial or finished solution of <see cref="SlowSearch"/>.</summary>
internal sealed record SlowPath(int[] Ids, float Value, bool IsFinished, bool IsCut, float[] StepValues)
{
    public bool CanExpand => !IsFinished && !IsCut;
}

/// <summary>
/// The searches as one would tell them, one path at a time, every logit and value from a whole forward, nothing kept: the
/// reference that the fast ones are held against.
/// </summary>
internal sealed class SlowSearch(LanguageModel policy, ValueModel value, int[] prompt, int problem, SamplingOptions sampling, int maxSteps)
{
    private readonly Dictionary<string, float[]> _logits = [];
    private readonly Dictionary<string, float> _values = [];
    private int _draws;

    public List<SlowPath> Finished { get; } = [];

    public List<SlowPath> Partial { get; } = [];

    private SlowPath Root => new([], Value([]), false, false, []);

    public SlowPath One(bool isGreedy) => Solve(isGreedy ? null : Next());

    public SlowPath Vote(int n, Func<IReadOnlyList<int>, string> read, bool isWeighted)
    {
        List<SlowPath> all = [.. Enumerable.Range(0, n).Select(_ => Solve(Next()))];
        return all.Where(x => x.IsFinished).GroupBy(x => read(x.Ids)).Where(x => x.Key.Length > 0)
            .Select(x => (Most: Most(x), Votes: x.Sum(Votes))).DefaultIfEmpty((Most: Best(), Votes: 0.0)).MaxBy(x => x.Votes).Most;

        double Votes(SlowPath path) => isWeighted ? Math.Max(0.0, path.Value) : 1;
        SlowPath Most(IEnumerable<SlowPath> same) => same.GroupBy(x => string.Join(' ', x.Ids)).MaxBy(x => x.Sum(Votes))!.First();
    }

    public SlowPath BestOfN(int n, StepValues kind)
    {
        var all = new List<SlowPath>();
        for (int i = 0; i < n; i++)
        {
            ulong stream = Next();
            SlowPath path = Root;
            if (kind == StepValues.End) path = Step(path, stream, isWhole: true);
            else
                while (path.CanExpand && path.StepValues.Length < maxSteps) path = Step(path, stream, isWhole: false);
            Note(path);
            all.Add(path);
        }
        return all.Where(x => x.IsFinished).DefaultIfEmpty(Best()).MaxBy(x => kind switch { StepValues.End => x.Value, StepValues.Minimum => x.StepValues.DefaultIfEmpty().Min(), _ => (float)x.StepValues.DefaultIfEmpty().Average(y => (double)y) })!;
    }

    public SlowPath Beam(int width, int expansions, int lookahead)
    {
        List<SlowPath> beams = [Root];
        while (beams.Count > 0)
        {
            var candidates = new List<(SlowPath Path, float Rank)>();
            foreach (SlowPath beam in beams)
                for (int i = 0; i < expansions * (beam.Ids.Length == 0 ? width : 1) && beam.StepValues.Length < maxSteps; i++)
                {
                    SlowPath path = Step(beam, Next(), isWhole: false);
                    Note(path);
                    candidates.Add((path, path.Value));
                }
            for (int i = 0; i < candidates.Count && lookahead > 0; i++)
            {
                SlowPath ahead = candidates[i].Path;
                for (int k = 0; k < lookahead && ahead.CanExpand && ahead.StepValues.Length < maxSteps; k++) ahead = Step(ahead, null, isWhole: false);
                if (ahead.IsFinished && !candidates[i].Path.IsFinished) Finished.Add(ahead);
                candidates[i] = (candidates[i].Path, ahead.Value);
            }
            beams = [.. candidates.OrderByDescending(x => x.Rank).Select(x => x.Path).Where(x => x.CanExpand).Take(width)];
        }
        return Best();
    }

    public SlowPath Diverse(int subtrees, int expansions)
    {
        var tips = Enumerable.Repeat(Root, subtrees).ToList();
        while (tips.Count > 0)
        {
            var next = new List<SlowPath>();
            foreach (SlowPath tip in tips)
            {
                if (tip.StepValues.Length >= maxSteps) continue;
                List<SlowPath> steps = [.. Enumerable.Range(0, expansions).Select(_ => Step(tip, Next(), isWhole: false))];
                steps.ForEach(Note);
                if (steps.Where(x => !x.IsCut).MaxBy(x => x.Value) is { CanExpand: true } best) next.Add(best);
            }
            tips = next;
        }
        return Best();
    }

    public SlowPath MonteCarlo(int simulations, int expansions, double c)
    {
        var children = new Dictionary<string, List<SlowPath>>();
        var visits = new Dictionary<string, int>();
        var sums = new Dictionary<string, double>();
        var priors = new Dictionary<string, double>();
        double low = double.PositiveInfinity, high = double.NegativeInfinity;
        for (int i = 0; i < simulations; i++)
        {
            List<SlowPath> walk = [Root];
            while (children.GetValueOrDefault(Key(walk[^1].Ids)) is { Count: > 0 } steps)
            {
                double root = Math.Sqrt(visits.GetValueOrDefault(Key(walk[^1].Ids)));
                walk.Add(steps.MaxBy(x =>
                {
                    string key = Key(x.Ids);
                    int n = visits.GetValueOrDefault(key);
                    double q = n > 0 ? sums[key] / n : x.Value;
                    return (high > low ? (q - low) / (high - low) : 0.5) + c * priors[key] * root / (1 + n);
                })!);
            }
            SlowPath leaf = walk[^1];
            if (leaf.CanExpand && leaf.StepValues.Length < maxSteps)
            {
                List<SlowPath> steps = [.. Enumerable.Range(0, expansions).Select(_ => Step(leaf, Next(), isWhole: false))];
                foreach (SlowPath step in steps)
                {
                    Note(step);
                    priors[Key(step.Ids)] = priors.GetValueOrDefault(Key(step.Ids)) + 1.0 / expansions;
                    (low, high) = (Math.Min(low, step.Value), Math.Max(high, step.Value));
                }
                children[Key(leaf.Ids)] = [.. steps.DistinctBy(x => Key(x.Ids))];
            }
            foreach (SlowPath path in walk)
            {
                visits[Key(path.Ids)] = visits.GetValueOrDefault(Key(path.Ids)) + 1;
                sums[Key(path.Ids)] = sums.GetValueOrDefault(Key(path.Ids)) + leaf.Value;
            }
        }
        return Best();
    }

    public SlowPath BestAction(int k) => Enumerable.Range(0, k).Select(_ => Step(Root, Next(), isWhole: false)).Where(x => !x.IsCut).MaxBy(x => x.Value)!;

    private static string Key(IEnumerable<int> ids) => string.Join(' ', ids);

    private ulong Next() => ((ulong)problem << 20) + (ulong)_draws++;

    private SlowPath Solve(ulong? stream)
    {
        SlowPath path = Step(Root, stream, isWhole: true);
        Note(path);
        return path;
    }

    private void Note(SlowPath path) => (path.IsFinished ? Finished : Partial).Add(path);

    private SlowPath Best() => Finished.Count > 0 ? Finished.MaxBy(x => x.Value)! : Partial.Where(x => x.IsCut || x.StepValues.Length == maxSteps || !Partial.Any(y => y.Ids.Length > x.Ids.Length && y.Ids.AsSpan().StartsWith(x.Ids))).MaxBy(x => x.Value)!;

    private SlowPath Step(SlowPath from, ulong? stream, bool isWhole)
    {
        List<int> ids = [.. from.Ids];
        Tensor row = Device.Cpu.Create(DType.I32, 1, SampleRow.Words), drawn = Device.Cpu.Create(DType.I32, 1, 1);
        while (true)
        {
            float[] logits = Logits(ids);
            new SampleRow(stream is null ? 0 : sampling.Temperature, 0, 1, sampling.Seed, stream ?? 0, (uint)(prompt.Length + ids.Count)).Write(0, row.AsSpan<int>());
            Sample.Next(Device.Cpu.Create<float>(logits, 1, logits.Length), row, drawn, Device.Cpu.Create(DType.F32, 1, 1));
            int id = drawn.AsSpan<int>()[0];
            ids.Add(id);
            bool isEnd = id == TinyModels.End, isCut = !isEnd && ids.Count >= sampling.MaxTokens;
            if (!isEnd && !isCut && (isWhole || id != TinyModels.LineBreak)) continue;
            float v = Value(isEnd ? ids[..^1] : ids);
            return new SlowPath([.. ids], v, isEnd, isCut, [.. from.StepValues, v]);
        }
    }

    private float[] Logits(List<int> ids)
    {
        if (_logits.TryGetValue(Key(ids), out float[]? known)) return known;
        int[] all = [.. prompt, .. ids];
        using var run = new ForwardBackward(policy, all, 0, all.Length);
        return _logits[Key(ids)] = run.Logits()[^TinyModels.Config.VocabularySize..];
    }

    private float Value(List<int> ids)
    {
        if (_values.TryGetValue(Key(ids), out float known)) return known;
        int[] all = [.. prompt, .. ids];
        using var run = new ForwardBackward(value, all, 0, all.Length);
        return _values[Key(ids)] = run.Values()[^1];
    }
}
