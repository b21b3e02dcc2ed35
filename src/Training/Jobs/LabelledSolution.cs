using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;

namespace Bellman.Training.Jobs;

/// <summary>A solution with its verdict, its tokens and the places where its steps end.</summary>
internal sealed record LabelledSolution(string Question, string Response, string? Source, bool Right, int[] Ids, int PromptLength, int[] StepEnds)
{
    /// <summary>Tokens of the response without its end token.</summary>
    public int Length => Ids.Length - PromptLength;

    /// <summary>Index of the token after which a share of the response is written; the prompt's last token for 0.</summary>
    public int PlaceOf(double share) => PromptLength - 1 + (int)Math.Round(share * Length, MidpointRounding.AwayFromZero);

    /// <summary>Reads lines; what is longer than the model takes, or empty, is counted and left out.</summary>
    /// <exception cref="DataException">A field is missing or wrong, or nothing is left.</exception>
    public static (List<LabelledSolution> Solutions, int Dropped) Read(IEnumerable<JsonLine> lines, Tokenizer tokenizer, int positions, ValueEvaluateOptions options, string source, CancellationToken cancellation)
    {
        var trajectories = new TrajectoryTokenizer(tokenizer, new TrajectoryOptions { StateLevel = StateLevel.Step, StepDelimiter = options.StepDelimiter, MaxLength = positions, PromptTemplate = options.PromptTemplate });
        var solutions = new List<LabelledSolution>();
        int dropped = 0;
        foreach (JsonLine line in lines)
        {
            cancellation.ThrowIfCancellationRequested();
            string question = line.Text(options.PromptField), response = line.Text(options.ResponseField);
            bool right = line.Real(options.RewardField) > 0.5f;
            string? writer = line.OptionalText(options.SourceField);
            (Trajectory? trajectory, _, _) = Tokenize(trajectories, new ResponseRecord(line.Number, question, question, response, right ? 1 : 0, null), line);
            if (trajectory is null) dropped++;
            else solutions.Add(Of(trajectory, question, response, writer, right));
        }
        if (solutions.Count == 0) throw new DataException($"{source}: expected at least one labelled solution that fits the model's {positions} positions, received {dropped} that do not.");
        return (solutions, dropped);
    }

    private static (Trajectory?, DropReason, string?) Tokenize(TrajectoryTokenizer tokenizer, ResponseRecord record, JsonLine line)
    {
        try
        {
            return tokenizer.TryTokenize(record);
        }
        catch (Kernels.BellmanException error)
        {
            throw line.Error(error.Message, error);
        }
    }

    private static LabelledSolution Of(Trajectory trajectory, string question, string response, string? source, bool right)
    {
        int prompt = Array.IndexOf(trajectory.ActionMask, true) + 1;
        // The state before a step is the end of the one before it; the end token is no part of the last step.
        int last = trajectory.Length - 2;
        int[] ends = [.. Enumerable.Range(prompt, Math.Max(0, last - prompt)).Where(t => trajectory.StateMask[t]), last];
        return new LabelledSolution(question, response, source, right, trajectory.Ids[..^1], prompt, ends);
    }
}
