using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;

namespace Bellman.Training.Jobs;

/// <summary>Adds log-probs, and with a reference or value model also KL and values, to sequences.</summary>
public sealed class ScoreJob
{
    // Enough lines for full forwards without holding a large file in memory.
    private const int TokensAtOnce = 16384;
    private static readonly string[] Replaced = ["ids", "logprobs", "reference_logprobs", "kl", "values"];

    private readonly ModelFolder _policy;
    private readonly LanguageModel? _reference;
    private readonly ValueModel? _value;

    /// <summary>A job over loaded models, which the caller disposes.</summary>
    public ScoreJob(ModelFolder policy, LanguageModel? reference = null, ValueModel? value = null) => (_policy, _reference, _value) = (policy, reference, value);

    /// <summary>Text around the prompt of a line with prompt and response.</summary>
    public string PromptTemplate { get; init; } = "{prompt}";

    /// <summary>
    /// Lines with <c>ids</c>, with <c>prompt_ids</c> and <c>response_ids</c>, or with <c>prompt</c> and <c>response</c> (an end token is added
    /// unless <c>finished</c> is false) get <c>ids</c> (n), <c>logprobs</c>, <c>reference_logprobs</c>, <c>kl</c> and <c>values</c> (n − 1 each).
    /// </summary>
    /// <returns>Lines and tokens.</returns>
    /// <exception cref="BellmanException">A line is wrong, a sequence does not fit the model, or a result is not finite.</exception>
    public (int Lines, long Tokens) Run(IEnumerable<JsonLine> lines, JsonLineWriter output, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        using var scorer = new SequenceScorer(_policy.Model, _reference, _value);
        var prompts = new PromptEncoder(_policy.Tokenizer, PromptTemplate);
        var waiting = new List<(JsonLine Line, int[] Ids)>();
        int done = 0, held = 0;
        long tokens = 0;
        foreach (JsonLine line in lines)
        {
            int[] ids = IdsOf(line, prompts);
            Check(line, ids);
            waiting.Add((line, ids));
            held += ids.Length;
            if (held >= TokensAtOnce) Flush();
        }
        Flush();
        return (done, tokens);

        void Flush()
        {
            if (waiting.Count == 0) return;
            IReadOnlyList<SequenceScore> scores = scorer.Score([.. waiting.Select(x => x.Ids)], cancellation);
            for (int i = 0; i < scores.Count; i++) Write(waiting[i].Line, waiting[i].Ids, scores[i], output);
            (done, tokens) = (done + waiting.Count, tokens + held);
            progress?.Invoke(new JobProgress("scoring", done, 0, "sequences"));
            waiting.Clear();
            held = 0;
        }
    }

    private int[] IdsOf(JsonLine line, PromptEncoder prompts)
    {
        if (line.Has("ids")) return line.Ids("ids");
        if (line.Has("prompt_ids") && line.Has("response_ids")) return [.. line.Ids("prompt_ids"), .. line.Ids("response_ids")];
        if (!line.Has("prompt") && !line.Has("response")) throw line.Error("expected ids, or prompt and response; the line has neither.");
        string promptText = line.Text("prompt"), responseText = line.Text("response");
        try
        {
            int[] prompt = prompts.Encode(promptText);
            int[] response = prompt.Length == 0 ? _policy.Tokenizer.EncodeToIds(responseText) : _policy.Tokenizer.EncodeContinuation(responseText);
            if (!line.Flag("finished", true)) return [.. prompt, .. response];
            int end = _policy.Tokenizer.EosId ?? throw line.Error("the tokenizer names no end token to close the response with; give ids instead.");
            return [.. prompt, .. response, end];
        }
        catch (BellmanException error) when (error is not Data.DataException)
        {
            throw line.Error(error.Message, error);
        }
    }

    private void Check(JsonLine line, int[] ids)
    {
        if (ids.Length == 0) throw line.Error("the sequence is empty; expected at least one token.");
        ModelConfig config = _policy.Model.Config;
        if (ids.Length > config.MaxPositions) throw line.Error($"the sequence has {ids.Length} tokens, the model takes at most {config.MaxPositions}; shorten it.");
        foreach (int id in ids)
            if ((uint)id >= (uint)config.VocabularySize) throw line.Error($"token {id} is outside the model's vocabulary of {config.VocabularySize}; were the ids made with another tokenizer?");
    }

    private static void Write(JsonLine line, int[] ids, SequenceScore score, JsonLineWriter output)
    {
        foreach ((string name, float[]? numbers) in (ReadOnlySpan<(string, float[]?)>)[("policy", score.LogProbs), ("reference", score.ReferenceLogProbs), ("policy or reference", score.Kl), ("value model", score.Values)])
            if (numbers is not null && Array.FindIndex(numbers, x => !float.IsFinite(x)) is >= 0 and var at)
                throw line.Error($"the {name} gives {numbers[at]} at token {at}; its weights hold values that are not finite, check the checkpoint.");
        output.Write(line, Replaced, json =>
        {
            json.WriteIds("ids", ids);
            json.WriteNumbers("logprobs", score.LogProbs);
            if (score.ReferenceLogProbs is not null) json.WriteNumbers("reference_logprobs", score.ReferenceLogProbs);
            if (score.Kl is not null) json.WriteNumbers("kl", score.Kl);
            if (score.Values is not null) json.WriteNumbers("values", score.Values);
        });
    }
}
