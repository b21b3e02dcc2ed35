using Bellman.Kernels;
using Bellman.Runtime.Generation;

namespace Bellman.Runtime.Search;

/// <summary>
/// Searches many problems at once: policy and scoring model work on one tree of tokens per problem, each token read once by either,
/// and all live branches of all problems share each pass. Pages stay between calls, so that a prompt met again is not computed again.
/// </summary>
public sealed class TreeSearch : IDisposable
{
    private readonly SearchModels _models;
    private readonly SearchOptions _options;
    private readonly KvCache _policy;
    private readonly PathScorer? _scorer;
    private readonly BranchSelector _selector;
    private long _dropped;

    /// <summary>A search over models, which the caller disposes.</summary>
    /// <exception cref="BellmanException">The models do not fit together, or an option is out of range.</exception>
    /// <exception cref="DeviceException">The device's free memory does not hold keys and values up to the limit, with what passes work in; the message says what would fit.</exception>
    public TreeSearch(SearchModels models, SearchOptions options)
    {
        models.Validate();
        options.Validate();
        (_models, _options) = (models, options);
        _selector = new BranchSelector(models.Policy.Device);
        double policyBytes = KvPool.PageBytes(models.Policy.Config, models.Policy.Device, Math.Max(1, options.PageTokens));
        double scorerBytes = models.Scorer is { } scorer ? KvPool.PageBytes(scorer.Config, scorer.Device, Math.Max(1, options.PageTokens)) : 0;
        var plan = new DecodingPlan(models.Policy, models.Scorer, KvOptions.DefaultTokensPerPass, options.BranchesAtOnce);
        long bytes = plan.KeysAndValues(options.MaxBytes, (long)(policyBytes + scorerBytes));
        // Both models meet the same tokens: each gets memory for as many pages as the other.
        _policy = new KvCache(models.Policy, Pages(policyBytes));
        if (models.Value is not null) _scorer = new ValuePathScorer(models.Value, Pages(scorerBytes));
        else if (models.Reference is not null) _scorer = new LogRatioPathScorer(models.Reference, models.Beta, Pages(scorerBytes));

        KvOptions Pages(double own) => new()
        {
            MaxBytes = (long)(bytes * (own / (policyBytes + scorerBytes))), PageTokens = options.PageTokens, ReusePrefixes = options.Sharing == PathSharing.Tree,
        };
    }

    /// <summary>Tokens that passed through the policy so far.</summary>
    public long PolicyTokens => _policy.TokensComputed;

    /// <summary>Tokens that passed through the scoring model so far.</summary>
    public long ScorerTokens => _scorer?.Cache.TokensComputed ?? 0;

    /// <summary>Pages that searches in work hold, of both models.</summary>
    public int PagesInUse => _policy.PagesInUse + (_scorer?.Cache.PagesInUse ?? 0);

    /// <summary>Times that keys and values gave way to others under the memory limit: pages kept for reuse, and paths that had to be computed again.</summary>
    public long Evictions => _policy.Evictions + (_scorer?.Cache.Evictions ?? 0) + _dropped;

    /// <summary>Solves problems; each result is reported as soon as its search ends.</summary>
    /// <param name="search">How.</param>
    /// <param name="prompts">Token ids of each problem.</param>
    /// <param name="onResult">Called on the calling thread.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <exception cref="BellmanException">A prompt does not fit the model or the budget, or the search needs scores and there is no model for them.</exception>
    /// <exception cref="DeviceException">The memory limit does not hold one solution.</exception>
    public void Run(ISearch search, IReadOnlyList<int[]> prompts, Action<SearchResult> onResult, CancellationToken cancellation = default)
    {
        if (search.NeedsScores && _scorer is null) throw new BellmanException($"Search: {search.Name} needs a value model, or a reference, to score with; name one.");
        for (int i = 0; i < prompts.Count; i++) Check(prompts[i], $"problem {i}");
        PathScorer? scorer = search.NeedsScores ? _scorer : null;
        using var scheduler = new LaneScheduler(_models.Policy, _policy, scorer, new LaneOptions
        {
            Sampling = _options.Sampling, StepEnd = _options.StepEnd, AnswerEnd = _options.AnswerEnd, LanesAtOnce = _options.BranchesAtOnce,
            PrefillTokens = _options.PrefillTokens, Sharing = _options.Sharing,
        });
        var live = new List<SearchTree>();
        int next = 0;
        try
        {
            while (next < prompts.Count || live.Count > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                while (next < prompts.Count && live.Count < _options.ProblemsAtOnce)
                {
                    live.Add(new SearchTree(next, prompts[next], scheduler, _policy, scorer, _options));
                    next++;
                    live[^1].Begin(search);
                }
                scheduler.Step();
                bool moved = scheduler.Count > 0;
                do
                {
                    foreach (SearchTree tree in live)
                        while (tree.Advance()) moved = true;
                }
                while (_selector.Run(live));
                for (int i = 0; i < live.Count; i++)
                {
                    if (!live[i].IsDone) continue;
                    moved = true;
                    onResult(live[i].Close());
                    live.RemoveAt(i--);
                }
                if (!moved) throw new InvalidOperationException($"Search: {search.Name} awaits something that is not a round of its tree.");
            }
        }
        finally
        {
            foreach (SearchTree tree in live) tree.Free();
            _dropped += scheduler.Memory.Dropped;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _selector.Dispose();
        _policy.Dispose();
        _scorer?.Dispose();
    }

    private void Check(int[] prompt, string name)
    {
        Generator.CheckPrompt(_models.Policy, _policy, prompt, _options.Sampling, "Search", name);
        if (_scorer is not null) Generator.CheckPrompt(_models.Policy, _scorer.Cache, prompt, _options.Sampling, "Search", name);
        if (_options.Budget.Tokens > 0 && prompt.Length >= _options.Budget.Tokens)
            throw new BellmanException($"Search: {name} has {prompt.Length} tokens, the budget is {_options.Budget.Tokens} with the prompt; raise it.");
    }
}
