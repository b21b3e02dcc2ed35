using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>A prompt to continue.</summary>
/// <param name="PromptIds">At least one token.</param>
/// <param name="Samples">How many continuations.</param>
/// <param name="Stream">Number of the prompt in the job: with the seed it decides all draws.</param>
public sealed record GenerationRequest(int[] PromptIds, int Samples = 1, ulong Stream = 0);

/// <summary>One continuation.</summary>
/// <param name="Request">Index of its request.</param>
/// <param name="Sample">Number of the sample within the request.</param>
/// <param name="Ids">New tokens, the end token included when there is one.</param>
/// <param name="LogProbs">log π of each new token.</param>
/// <param name="Finish">Why it ended.</param>
public sealed record GenerationResult(int Request, int Sample, int[] Ids, float[] LogProbs, FinishReason Finish);

/// <summary>
/// Continues many prompts at once. Samples of a prompt share its keys and values; a sequence that ends makes room for the next
/// at once. What a sample says depends on (seed, stream, sample) and on nothing else in the job.
/// </summary>
public sealed class Generator(LanguageModel model, int maxLive = 128) : IDisposable
{
    private readonly KvCache _cache = new(model);

    /// <summary>Tokens that passed through the model so far.</summary>
    public long TokensComputed => _cache.TokensComputed;

    /// <summary>Continues all prompts.</summary>
    /// <param name="requests">The prompts.</param>
    /// <param name="options">Sampling and limits.</param>
    /// <param name="stop">When to stop besides the end token; null for never.</param>
    /// <param name="onResult">Called for each continuation as it ends, on the calling thread.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <exception cref="BellmanException">A prompt is empty, too long or holds an id outside the vocabulary.</exception>
    public void Run(IReadOnlyList<GenerationRequest> requests, SamplingOptions options, StopRule? stop, Action<GenerationResult> onResult, CancellationToken cancellation = default)
    {
        for (int i = 0; i < requests.Count; i++) CheckPrompt(requests[i].PromptIds, $"prompt {i}");
        using var loop = new DecodeLoop(model, _cache, options, stop ?? StopRule.Never);
        var live = new List<Branch>();
        var owners = new List<(int Request, int Sample)>();
        int next = 0;
        try
        {
            while (next < requests.Count || live.Count > 0)
            {
                cancellation.ThrowIfCancellationRequested();
                while (next < requests.Count && (live.Count == 0 || live.Count + requests[next].Samples <= maxLive))
                {
                    Admit(requests[next], options.MaxTokens, live);
                    for (int sample = 0; sample < requests[next].Samples; sample++) owners.Add((next, sample));
                    next++;
                }
                loop.Step(live);
                Retire(live, owners, onResult);
            }
        }
        finally
        {
            foreach (Branch branch in live) _cache.Free(branch.Sequence);
        }
    }

    /// <summary>Continues one prompt, token by token.</summary>
    /// <param name="promptIds">At least one token.</param>
    /// <param name="options">Sampling and limits.</param>
    /// <param name="stop">When to stop besides the end token; null for never.</param>
    /// <param name="stream">Random stream.</param>
    /// <returns>New token ids as they are drawn; an end token is the last.</returns>
    public IEnumerable<int> Stream(int[] promptIds, SamplingOptions options, StopRule? stop = null, ulong stream = 0)
    {
        CheckPrompt(promptIds, "prompt");
        return Tokens();

        IEnumerable<int> Tokens()
        {
            using var loop = new DecodeLoop(model, _cache, options, stop ?? StopRule.Never);
            var branch = new Branch(_cache.Create(), promptIds, StreamOf(stream, 0), options.MaxTokens);
            try
            {
                while (branch.Finish == FinishReason.None)
                {
                    loop.Step([branch]);
                    yield return branch.NewTokens[^1];
                }
            }
            finally
            {
                _cache.Free(branch.Sequence);
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _cache.Dispose();

    // Samples of one prompt take neighbouring streams; 2^20 of them before two prompts could meet.
    private static ulong StreamOf(ulong request, int sample) => (request << 20) + (ulong)sample;

    /// <summary>Computes a prompt once, but for its last token, and forks it for each sample.</summary>
    private void Admit(GenerationRequest request, int maxTokens, List<Branch> live)
    {
        int[] prompt = request.PromptIds;
        KvSequence root = _cache.Create();
        if (prompt.Length > 1) _cache.Append([root], prompt.AsSpan(0, prompt.Length - 1), [0, prompt.Length - 1]);
        for (int sample = 0; sample < request.Samples; sample++)
        {
            KvSequence sequence = sample == request.Samples - 1 ? root : _cache.Fork(root);
            live.Add(new Branch(sequence, [prompt[^1]], StreamOf(request.Stream, sample), maxTokens));
        }
    }

    private void Retire(List<Branch> live, List<(int Request, int Sample)> owners, Action<GenerationResult> onResult)
    {
        int kept = 0;
        for (int i = 0; i < live.Count; i++)
        {
            Branch branch = live[i];
            if (branch.Finish == FinishReason.None)
            {
                live[kept] = branch;
                owners[kept++] = owners[i];
                continue;
            }
            _cache.Free(branch.Sequence);
            onResult(new GenerationResult(owners[i].Request, owners[i].Sample, [.. branch.NewTokens], [.. branch.LogProbs], branch.Finish));
        }
        live.RemoveRange(kept, live.Count - kept);
        owners.RemoveRange(kept, owners.Count - kept);
    }

    private void CheckPrompt(int[] ids, string name)
    {
        if (ids.Length == 0) throw new BellmanException($"Generation: {name} has no tokens; expected at least one (a begin token, say).");
        if (ids.Length >= model.Config.MaxPositions)
            throw new BellmanException($"Generation: {name} has {ids.Length} tokens; the model takes at most {model.Config.MaxPositions} with the answer. Shorten the prompt.");
        foreach (int id in ids)
            if ((uint)id >= (uint)model.Config.VocabularySize)
                throw new BellmanException($"Generation: {name} holds token {id}, the model's vocabulary has {model.Config.VocabularySize}; use the model's own tokenizer.");
    }
}
