using Bellman.Kernels;
using Bellman.Runtime.Generation;

namespace Bellman.Training.Jobs;

/// <summary>
/// Samples responses to problems, grades them and writes trajectories. All responses to a problem are written together once
/// the last has ended, so a file never holds a part of a problem.
/// </summary>
public sealed class RolloutJob
{
    // Problems given to the generator at once; what is lost when a run is stopped.
    private const int ProblemsAtOnce = 64;

    private readonly ModelFolder _policy;
    private readonly AnswerRule _rule;
    private readonly PromptEncoder _prompts;
    private readonly RolloutOptions _options;
    private int _done, _responses, _correct, _cut, _solved, _mixed;

    /// <summary>A job over a loaded policy, which the caller disposes.</summary>
    public RolloutJob(ModelFolder policy, AnswerRule rule, PromptEncoder prompts, RolloutOptions options) => (_policy, _rule, _prompts, _options) = (policy, rule, prompts, options);

    /// <summary>
    /// Samples all problems that <paramref name="isDone"/> does not name. A response depends on the seed, the problem's line and the number
    /// of the sample only, not on what else is sampled.
    /// </summary>
    /// <param name="problems">The problems.</param>
    /// <param name="output">Gets one line per response: prompt, response, reward, finished, extracted, line, sample, prompt_ids, response_ids.</param>
    /// <param name="isDone">Whether an earlier run has written the problem of a line; null for none.</param>
    /// <param name="progress">Told after every problem.</param>
    /// <param name="cancellation">Stops between tokens; problems that have ended are written.</param>
    /// <exception cref="BellmanException">A prompt does not fit the model.</exception>
    public RolloutReport Run(IReadOnlyList<Problem> problems, JsonLineWriter output, Func<int, bool>? isDone = null, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        Problem[] left = [.. problems.Where(x => isDone is null || !isDone(x.Line))];
        int[][] prompts = [.. left.Select(Encode)];
        using var generator = new Generator(_policy.Model);
        for (int first = 0; first < left.Length; first += ProblemsAtOnce)
        {
            int count = Math.Min(ProblemsAtOnce, left.Length - first), start = first;
            var groups = new Dictionary<int, List<GenerationResult>>();
            GenerationRequest[] requests = [.. Enumerable.Range(start, count).Select(i => new GenerationRequest(prompts[i], _options.Samples, (ulong)left[i].Line))];
            generator.Run(requests, _options.Sampling, null, result =>
            {
                if (!groups.TryGetValue(result.Request, out List<GenerationResult>? group)) groups[result.Request] = group = [];
                group.Add(result);
                if (group.Count < _options.Samples) return;
                groups.Remove(result.Request);
                Write(left[start + result.Request], prompts[start + result.Request], group, output);
                progress?.Invoke(new JobProgress("sampling", _done, left.Length, "problems", $"{100.0 * _correct / _responses:0.0} % right"));
            }, cancellation);
        }
        return new RolloutReport(_done, _responses, _correct, _cut, _solved, _mixed);
    }

    private int[] Encode(Problem problem)
    {
        int[] ids = _prompts.Encode(problem.Question);
        int limit = _policy.Model.Config.MaxPositions;
        return ids.Length < limit ? ids : throw new BellmanException($"line {problem.Line}: the prompt has {ids.Length} tokens, the model takes {limit} with the answer; shorten it or take a model of longer context.");
    }

    private void Write(Problem problem, int[] promptIds, List<GenerationResult> group, JsonLineWriter output)
    {
        int right = 0;
        foreach (GenerationResult sample in group.OrderBy(x => x.Sample))
        {
            // Training closes a response with the tokenizer's end token; one that ended on another of the model's end tokens is no
            // trajectory either.
            bool isFinished = sample.Finish == FinishReason.EndToken && sample.Ids[^1] == _policy.Tokenizer.EosId;
            string response = ResponseText.Of(_policy.Tokenizer, promptIds, sample.Ids);
            AnswerVerdict verdict = _rule.Grade(problem.Question, response, problem.Reference);
            bool isRight = isFinished && verdict.Correct;
            output.Write(json =>
            {
                json.WriteString("prompt", problem.Question);
                json.WriteString("response", response);
                json.WriteNumber("reward", isRight ? 1 : 0);
                json.WriteBoolean("finished", isFinished);
                json.WriteString("extracted", verdict.Extracted);
                json.WriteNumber("line", problem.Line);
                json.WriteNumber("sample", sample.Sample);
                json.WriteIds("prompt_ids", promptIds);
                json.WriteIds("response_ids", sample.Ids);
            });
            if (isRight) right++;
            if (!isFinished) _cut++;
        }
        _done++;
        _responses += group.Count;
        _correct += right;
        if (right > 0) _solved++;
        if (right > 0 && right < group.Count) _mixed++;
    }
}
