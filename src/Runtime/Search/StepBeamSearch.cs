using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Search;

/// <summary>Settings of <see cref="StepBeamSearch"/>.</summary>
public sealed record StepBeamOptions
{
    /// <summary>B: partial solutions kept after each step.</summary>
    public int Width { get; init; } = 4;

    /// <summary>N: steps sampled from each kept solution; the paper takes N = B. 0 means the width.</summary>
    public int Expansions { get; init; }

    /// <summary>Most steps before the search gives up (20 in the paper).</summary>
    public int MaxSteps { get; init; } = 20;

    /// <summary>How steps are drawn; <see cref="SamplingOptions.MaxTokens"/> limits the whole solution.</summary>
    public SamplingOptions Sampling { get; init; } = new();

    /// <summary>Problems searched side by side.</summary>
    public int ProblemsAtOnce { get; init; } = 32;
}

/// <summary>A solution that the search found.</summary>
/// <param name="Ids">New tokens, the end token included when there is one.</param>
/// <param name="Value">V where it was trained: before the end token of a finished solution, after the last step of another.</param>
/// <param name="IsFinished">Ended by an end token. A cut solution is never preferred to a finished one.</param>
public sealed record ScoredSolution(int[] Ids, float Value, bool IsFinished);

/// <summary>Outcome for one problem.</summary>
/// <param name="Problem">Index of the problem.</param>
/// <param name="Best">The finished solution of highest value, else the best partial one.</param>
/// <param name="Finished">All finished solutions, best first.</param>
/// <param name="Steps">Rounds of expansion.</param>
public sealed record BeamResult(int Problem, ScoredSolution Best, IReadOnlyList<ScoredSolution> Finished, int Steps);

/// <summary>
/// Step-level beam search guided by the value model (OREO paper, section 4.5; shared prefixes are computed once by either
/// model): keep B partial solutions, draw N next steps from each, score each with V at its last token, keep the best B.
/// Finished solutions leave the beam for the answer pool; the answer is the finished one of highest value.
/// </summary>
public sealed class StepBeamSearch : IDisposable
{
    private readonly LanguageModel _policy;
    private readonly StepBeamOptions _options;
    private readonly StopRule _stepEnd;
    private readonly KvCache _policyCache;
    private readonly KvCache _valueCache;
    private readonly ValueModel _value;

    /// <summary>A search over a policy with a value model of the same vocabulary.</summary>
    /// <param name="policy">Draws the steps.</param>
    /// <param name="value">Scores them.</param>
    /// <param name="stepEnd">When a step ends: a line break for GSM8K.</param>
    /// <param name="options">Width and limits.</param>
    public StepBeamSearch(LanguageModel policy, ValueModel value, StopRule stepEnd, StepBeamOptions options)
    {
        if (options.Width < 1 || options.Width > 1024) throw new BellmanException($"Beam search: expected a width from 1 to 1024, received {options.Width}.");
        if (options.Expansions < 0 || options.Expansions > 1024) throw new BellmanException($"Beam search: expected 0 (as the width) to 1024 expansions, received {options.Expansions}.");
        if (options.MaxSteps < 1) throw new BellmanException($"Beam search: expected at least one step, received {options.MaxSteps}.");
        if (policy.Config.VocabularySize != value.Config.VocabularySize)
            throw new BellmanException($"Beam search: the value model's vocabulary has {value.Config.VocabularySize} tokens, the policy's {policy.Config.VocabularySize}; they must share a tokenizer.");
        options.Sampling.Validate();
        _policy = policy;
        _value = value;
        _stepEnd = stepEnd;
        _options = options;
        _policyCache = new KvCache(policy);
        _valueCache = new KvCache(value);
    }

    /// <summary>Tokens that passed through the policy so far.</summary>
    public long PolicyTokens => _policyCache.TokensComputed;

    /// <summary>Tokens that passed through the value model so far.</summary>
    public long ValueTokens => _valueCache.TokensComputed;

    /// <summary>Solves problems; each result is reported as soon as its search ends.</summary>
    /// <param name="prompts">Token ids of each problem.</param>
    /// <param name="onResult">Called on the calling thread.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    public void Run(IReadOnlyList<int[]> prompts, Action<BeamResult> onResult, CancellationToken cancellation = default)
    {
        using var loop = new DecodeLoop(_policy, _policyCache, _options.Sampling, _stepEnd);
        for (int first = 0; first < prompts.Count; first += _options.ProblemsAtOnce)
        {
            int count = Math.Min(_options.ProblemsAtOnce, prompts.Count - first);
            var searches = new List<Problem>();
            for (int i = first; i < first + count; i++) searches.Add(Open(i, prompts[i]));
            try
            {
                while (searches.Count > 0)
                {
                    Round(searches, loop, cancellation);
                    for (int i = searches.Count - 1; i >= 0; i--)
                    {
                        if (searches[i].Beams.Count > 0 && searches[i].Steps < _options.MaxSteps) continue;
                        onResult(Close(searches[i]));
                        searches.RemoveAt(i);
                    }
                }
            }
            finally
            {
                foreach (Problem search in searches) Close(search);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _policyCache.Dispose();
        _valueCache.Dispose();
    }

    private Problem Open(int index, int[] prompt)
    {
        if (prompt.Length == 0 || prompt.Length >= _policy.Config.MaxPositions)
            throw new BellmanException($"Beam search: problem {index} has {prompt.Length} tokens; expected 1 to {_policy.Config.MaxPositions - 1}.");
        // Every stored sequence lacks its last token: the next pass appends it and draws from its hidden state.
        KvSequence policy = _policyCache.Create(), value = _valueCache.Create();
        if (prompt.Length > 1) _policyCache.Append([policy], prompt.AsSpan(0, prompt.Length - 1), [0, prompt.Length - 1]);
        Tensor hidden = _valueCache.Append([value], prompt, [0, prompt.Length]);
        var search = new Problem(index);
        search.Beams.Add(new Beam(policy, value, prompt[^1], [], Values(hidden)[0]));
        return search;
    }

    /// <summary>One step for every beam of every problem, decoded in one batch, then one batch of value scores.</summary>
    private void Round(List<Problem> searches, DecodeLoop loop, CancellationToken cancellation)
    {
        var candidates = new List<Candidate>();
        foreach (Problem search in searches)
        {
            int each = _options.Expansions == 0 ? _options.Width : _options.Expansions;
            // The first round has one root, which must yield as many candidates as a full beam would.
            if (search.Steps == 0) each *= _options.Width;
            for (int b = 0; b < search.Beams.Count; b++)
                for (int n = 0; n < each; n++)
                {
                    Beam parent = search.Beams[b];
                    ulong stream = ((ulong)search.Index << 32) | ((ulong)search.Steps << 24) | (uint)(b * each + n);
                    int left = _options.Sampling.MaxTokens - parent.Ids.Length;
                    candidates.Add(new Candidate(search, parent, new Branch(_policyCache.Fork(parent.Policy), [parent.LastToken], stream, left), _valueCache.Fork(parent.Value)));
                }
        }
        try
        {
            Decode(candidates, loop, cancellation);
            Score(candidates);
        }
        catch
        {
            foreach (Candidate candidate in candidates) Release(candidate);
            throw;
        }
        foreach (Problem search in searches) search.Next.Clear();
        foreach (Candidate candidate in candidates) candidate.Problem.Next.Add(candidate);
        foreach (Problem search in searches) Select(search);
    }

    private static void Decode(List<Candidate> candidates, DecodeLoop loop, CancellationToken cancellation)
    {
        var live = new List<Branch>(candidates.Select(x => x.Branch));
        while (live.Count > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            loop.Step(live);
            live.RemoveAll(x => x.Finish != FinishReason.None);
        }
    }

    private void Score(List<Candidate> candidates)
    {
        var sequences = new List<KvSequence>();
        var ids = new List<int>();
        var starts = new List<int> { 0 };
        var scored = new List<Candidate>();
        foreach (Candidate candidate in candidates)
        {
            // The state after the end token is never trained: a finished solution is read just before it.
            int count = candidate.Branch.NewTokens.Count - (candidate.IsFinished ? 1 : 0);
            candidate.Value = candidate.Parent.ValueHere;
            if (count == 0) continue;
            for (int i = 0; i < count; i++) ids.Add(candidate.Branch.NewTokens[i]);
            starts.Add(ids.Count);
            sequences.Add(candidate.ValueSequence);
            scored.Add(candidate);
        }
        if (scored.Count == 0) return;
        Tensor hidden = _valueCache.Append(sequences.ToArray(), ids.ToArray(), starts.ToArray());
        float[] values = Values(hidden);
        for (int i = 0; i < scored.Count; i++) scored[i].Value = values[i];
    }

    private float[] Values(Tensor hidden)
    {
        Tensor values = _value.Device.Create(DType.F32, hidden.Rows, 1);
        _value.Values(hidden, values);
        float[] read = values.ToArray<float>();
        values.Free();
        return read;
    }

    /// <summary>Moves finished candidates to the pool, keeps the best B of the others and frees the rest.</summary>
    private void Select(Problem search)
    {
        foreach (Beam beam in search.Beams) Release(beam);
        search.Beams.Clear();
        search.Steps++;
        // Ties go to the earlier candidate; NaN ranks last.
        foreach (Candidate candidate in search.Next.OrderByDescending(x => float.IsNaN(x.Value) ? float.NegativeInfinity : x.Value))
        {
            int[] solution = [.. candidate.Parent.Ids, .. candidate.Branch.NewTokens];
            bool isCut = candidate.Branch.Finish == FinishReason.Length;
            if (candidate.IsFinished) search.Finished.Add(new ScoredSolution(solution, candidate.Value, true));
            else if (isCut || search.Beams.Count >= _options.Width) search.Offer(new ScoredSolution(solution, candidate.Value, false));
            if (!candidate.IsFinished && !isCut && search.Beams.Count < _options.Width)
                search.Beams.Add(new Beam(candidate.Branch.Sequence, candidate.ValueSequence, candidate.Branch.NewTokens[^1], solution, candidate.Value));
            else
                Release(candidate);
        }
        search.Next.Clear();
    }

    private BeamResult Close(Problem search)
    {
        foreach (Beam beam in search.Beams)
        {
            search.Offer(new ScoredSolution(beam.Ids, beam.ValueHere, false));
            Release(beam);
        }
        search.Beams.Clear();
        List<ScoredSolution> finished = [.. search.Finished.OrderByDescending(x => float.IsNaN(x.Value) ? float.NegativeInfinity : x.Value)];
        return new BeamResult(search.Index, finished.Count > 0 ? finished[0] : search.BestPartial ?? new ScoredSolution([], 0, false), finished, search.Steps);
    }

    private void Release(Candidate candidate)
    {
        _policyCache.Free(candidate.Branch.Sequence);
        _valueCache.Free(candidate.ValueSequence);
    }

    private void Release(Beam beam)
    {
        _policyCache.Free(beam.Policy);
        _valueCache.Free(beam.Value);
    }

    private sealed class Problem(int index)
    {
        public int Index { get; } = index;
        public int Steps { get; set; }
        public List<Beam> Beams { get; } = [];
        public List<Candidate> Next { get; } = [];
        public List<ScoredSolution> Finished { get; } = [];
        public ScoredSolution? BestPartial { get; private set; }

        public void Offer(ScoredSolution partial)
        {
            if (BestPartial is null || partial.Value > BestPartial.Value) BestPartial = partial;
        }
    }

    private sealed record Beam(KvSequence Policy, KvSequence Value, int LastToken, int[] Ids, float ValueHere);

    private sealed class Candidate(Problem problem, Beam parent, Branch branch, KvSequence valueSequence)
    {
        public Problem Problem { get; } = problem;
        public Beam Parent { get; } = parent;
        public Branch Branch { get; } = branch;
        public KvSequence ValueSequence { get; } = valueSequence;
        public bool IsFinished => Branch.Finish == FinishReason.EndToken;
        public float Value { get; set; }
    }
}
