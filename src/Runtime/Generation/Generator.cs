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
/// Continues many prompts at once. Samples of a prompt share its keys and values and are computed once as long as they agree; a
/// prompt whose beginning was computed before, in this run or an earlier one, goes on from there; a sequence that ends makes room
/// for the next at once. Where the memory limit is reached, sequences wait and are taken up again. What a sample says depends on
/// (seed, stream, sample) and on nothing else in the job.
/// </summary>
/// <param name="model">The policy; the caller disposes it.</param>
/// <param name="maxLive">Most sequences in one pass.</param>
/// <param name="memory">Page size and memory limit; null for the defaults.</param>
/// <exception cref="DeviceException">The device's free memory does not hold keys and values up to the limit, with what passes work in; the message says what would fit.</exception>
public sealed class Generator(LanguageModel model, int maxLive = 128, KvOptions? memory = null) : IDisposable
{
    private readonly KvCache _cache = new(model, Planned(model, maxLive, memory));

    /// <summary>Tokens that passed through the model so far.</summary>
    public long TokensComputed => _cache.TokensComputed;

    /// <summary>Continues all prompts.</summary>
    /// <param name="requests">The prompts.</param>
    /// <param name="options">Sampling and limits.</param>
    /// <param name="stop">When to stop besides the end token; null for never.</param>
    /// <param name="onResult">Called for each continuation as it ends, on the calling thread.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    /// <exception cref="BellmanException">A prompt is empty, too long or holds an id outside the vocabulary.</exception>
    /// <exception cref="DeviceException">The memory limit does not hold one sequence.</exception>
    /// <exception cref="BellmanException">The model's logits are no numbers.</exception>
    public void Run(IReadOnlyList<GenerationRequest> requests, SamplingOptions options, StopRule? stop, Action<GenerationResult> onResult, CancellationToken cancellation = default)
    {
        for (int i = 0; i < requests.Count; i++) Check(requests[i].PromptIds, options, $"prompt {i}");
        using LaneScheduler scheduler = Schedule(options, stop);
        int next = 0, live = 0;
        while (next < requests.Count || scheduler.Count > 0)
        {
            cancellation.ThrowIfCancellationRequested();
            while (next < requests.Count && (live == 0 || live + requests[next].Samples <= maxLive))
            {
                GenerationRequest request = requests[next];
                live += request.Samples;
                var owner = new Owner(next++, (index, lane) =>
                {
                    live -= lane.Draws.Count;
                    scheduler.Memory.Drop(lane);
                    CheckLogits(lane, $"prompt {index}");
                    foreach (Draw draw in lane.Draws) onResult(new GenerationResult(index, draw.Index, [.. lane.Response], [.. lane.LogProbs], ReasonOf(lane.Finish)));
                });
                if (request.Samples > 0) scheduler.Add(LaneFor(owner, request.PromptIds, options, request.Stream, request.Samples));
            }
            scheduler.Step();
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
        Check(promptIds, options, "prompt");
        return Tokens();

        IEnumerable<int> Tokens()
        {
            using LaneScheduler scheduler = Schedule(options, stop);
            Lane lane = LaneFor(new Owner(0, (_, ended) =>
            {
                scheduler.Memory.Drop(ended);
                CheckLogits(ended, "the prompt");
            }), promptIds, options, stream, 1);
            scheduler.Add(lane);
            for (int told = 0; scheduler.Count > 0;)
            {
                scheduler.Step();
                while (told < lane.Response.Count) yield return lane.Response[told++];
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _cache.Dispose();

    // Samples of one prompt take neighbouring streams; 2^20 of them before two prompts could meet.
    internal static ulong StreamOf(ulong request, int sample) => (request << 20) + (ulong)sample;

    private static KvOptions Planned(LanguageModel model, int maxLive, KvOptions? memory)
    {
        KvOptions options = memory ?? new KvOptions();
        var plan = new DecodingPlan(model, null, options.TokensPerPass, maxLive);
        long page = KvPool.PageBytes(model.Config, model.Device, options.PageTokens);
        return options with { MaxBytes = plan.KeysAndValues(options.MaxBytes, page) };
    }

    private LaneScheduler Schedule(SamplingOptions options, StopRule? stop) =>
        new(model, _cache, null, new LaneOptions { Sampling = options, AnswerEnd = stop ?? StopRule.Never, LanesAtOnce = maxLive });

    private Lane LaneFor(LaneOwner owner, int[] prompt, SamplingOptions options, ulong stream, int samples)
    {
        var lane = new Lane(owner, prompt, prompt.Length) { Limit = LengthLimit(model, prompt.Length, options) };
        for (int i = 0; i < samples; i++) lane.Draws.Add(new Draw(StreamOf(stream, i), owner, i));
        return lane;
    }

    /// <summary>Most tokens of a prompt with its answer.</summary>
    internal static int LengthLimit(LanguageModel model, int prompt, SamplingOptions options) => (int)Math.Min(model.Config.MaxPositions, (long)prompt + options.MaxTokens);

    /// <summary>Refuses a prompt that the model cannot continue, or that the memory does not hold with its answer.</summary>
    internal static void CheckPrompt(LanguageModel model, KvCache cache, int[] ids, SamplingOptions options, string operation, string name)
    {
        if (ids.Length == 0) throw new BellmanException($"{operation}: {name} has no tokens; expected at least one (a begin token, say).");
        if (ids.Length >= model.Config.MaxPositions)
            throw new BellmanException($"{operation}: {name} has {ids.Length} tokens; the model takes at most {model.Config.MaxPositions} with the answer. Shorten the prompt.");
        foreach (int id in ids)
            if ((uint)id >= (uint)model.Config.VocabularySize)
                throw new BellmanException($"{operation}: {name} holds token {id}, the model's vocabulary has {model.Config.VocabularySize}; use the model's own tokenizer.");
        // One page more for the copy of a page that another sequence shares.
        long pages = (LengthLimit(model, ids.Length, options) + cache.PageTokens - 1) / cache.PageTokens + 1;
        if (pages > cache.PageLimit)
            throw new DeviceException($"{operation}: {name} with its answer takes up to {pages} pages of {cache.PageTokens} tokens, the memory limit holds {cache.PageLimit}; raise the limit or lower the most tokens of an answer.");
    }

    private void Check(int[] ids, SamplingOptions options, string name) => CheckPrompt(model, _cache, ids, options, "Generation", name);

    private static void CheckLogits(Lane lane, string name)
    {
        if (lane.Finish == LaneEnd.Broken)
            throw new BellmanException($"Generation: the model's logits for token {lane.Response.Count + 1} of the answer to {name} hold NaN or +∞ or nothing but −∞; its weights or input are damaged.");
    }

    private static FinishReason ReasonOf(LaneEnd end) => end switch
    {
        LaneEnd.EndToken => FinishReason.EndToken,
        LaneEnd.AnswerEnd => FinishReason.StopRule,
        _ => FinishReason.Length,
    };

    private sealed class Owner(int index, Action<int, Lane> ended) : LaneOwner(index)
    {
        public override void Ended(Lane lane) => ended(Order, lane);
    }
}
