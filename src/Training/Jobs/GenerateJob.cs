using Bellman.Kernels;
using Bellman.Runtime.Generation;
using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Jobs;

/// <summary>Continues prompts: one as a stream of text, or many from lines.</summary>
public sealed class GenerateJob
{
    private readonly ModelFolder _policy;
    private readonly PromptEncoder _prompts;
    private readonly SamplingOptions _sampling;
    private readonly StopRule _stop;

    /// <summary>A job over a loaded policy, which the caller disposes.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="prompts">Makes its input.</param>
    /// <param name="sampling">Draws and limits.</param>
    /// <param name="stop">Texts that end a response; they stay part of it.</param>
    public GenerateJob(ModelFolder policy, PromptEncoder prompts, SamplingOptions sampling, IReadOnlyList<string> stop)
    {
        foreach (string text in stop)
            if (text.Length == 0) throw new BellmanException("Generation: expected a stop text of at least one character, received an empty one.");
        (_policy, _prompts, _sampling, _stop) = (policy, prompts, sampling, StopRule.Strings(policy.Tokenizer, stop));
    }

    /// <summary>Continues one prompt; yields whole characters as soon as they are known.</summary>
    /// <param name="prompt">The prompt.</param>
    /// <param name="sample">Number of the sample; equal numbers give equal texts.</param>
    /// <param name="cancellation">Stops between tokens.</param>
    public IEnumerable<string> Stream(string prompt, int sample = 0, CancellationToken cancellation = default)
    {
        int[] ids = _prompts.Encode(prompt);
        StreamingDecoder decoder = ResponseText.Behind(_policy.Tokenizer, ids);
        using var generator = new Generator(_policy.Model);
        foreach (int id in generator.Stream(ids, _sampling, _stop, (ulong)sample))
        {
            cancellation.ThrowIfCancellationRequested();
            if (decoder.Append(id) is { Length: > 0 } text) yield return text;
        }
        if (decoder.Flush() is { Length: > 0 } rest) yield return rest;
    }

    /// <summary>
    /// Lines with <c>prompt</c> get <c>response</c>, <c>finish</c> ("end", "stop", "length") and <c>tokens</c>; with more than one sample each line is
    /// written once per sample, with <c>sample</c>. The order of the lines is kept.
    /// </summary>
    /// <returns>Responses and tokens.</returns>
    public (int Responses, long Tokens) Run(IEnumerable<JsonLine> lines, JsonLineWriter output, int samples = 1, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        JsonLine[] all = [.. lines];
        var requests = new GenerationRequest[all.Length];
        for (int i = 0; i < all.Length; i++)
        {
            try
            {
                requests[i] = new GenerationRequest(_prompts.Encode(all[i].Text("prompt")), samples, (ulong)i);
            }
            catch (BellmanException error) when (error is not Data.DataException)
            {
                throw all[i].Error(error.Message, error);
            }
            if (requests[i].PromptIds.Length >= _policy.Model.Config.MaxPositions)
                throw all[i].Error($"the prompt has {requests[i].PromptIds.Length} tokens, the model takes {_policy.Model.Config.MaxPositions} with the answer; shorten it.");
        }
        var results = new GenerationResult?[all.Length * samples];
        int done = 0, written = 0;
        long tokens = 0;
        using var generator = new Generator(_policy.Model);
        generator.Run(requests, _sampling, _stop, result =>
        {
            results[result.Request * samples + result.Sample] = result;
            tokens += result.Ids.Length;
            progress?.Invoke(new JobProgress("generating", ++done, results.Length, "responses"));
            // Sequences end in any order; lines leave in theirs.
            for (; written < results.Length && results[written] is { } next; written++)
            {
                Write(all[next.Request], requests[next.Request].PromptIds, next, samples, output);
                results[written] = null;
            }
        }, cancellation);
        return (done, tokens);
    }

    private void Write(JsonLine line, int[] prompt, GenerationResult result, int samples, JsonLineWriter output) => output.Write(line, ["response", "finish", "tokens", "sample"], json =>
    {
        json.WriteString("response", ResponseText.Of(_policy.Tokenizer, prompt, result.Ids));
        json.WriteString("finish", result.Finish switch { FinishReason.EndToken => "end", FinishReason.StopRule => "stop", _ => "length" });
        json.WriteNumber("tokens", result.Ids.Length);
        if (samples > 1) json.WriteNumber("sample", result.Sample);
    });
}
