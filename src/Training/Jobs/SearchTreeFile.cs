using System.Text.Json;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Reports;

namespace Bellman.Training.Jobs;

/// <summary>
/// Writes search trees: one line of JSON for each problem, or, to a file whose name ends with <c>.html</c>, one page with all of them
/// that needs nothing else.
/// </summary>
public sealed class SearchTreeFile(Tokenizer tokenizer)
{
    private readonly List<(int Line, string Json)> _trees = [];

    /// <summary>Takes the tree of a graded problem; its text is made now and the tree itself may go.</summary>
    public void Add(SolvedTree tree)
    {
        ProblemResult result = tree.Result;
        Add(result.Problem.Line, tree.Prompt, tree.Search, json =>
        {
            json.WriteString("question", result.Problem.Question);
            json.WriteString("reference", result.Problem.Reference);
            json.WriteString("answer", result.Response);
            json.WriteString("extracted", result.Extracted);
            json.WriteBoolean("correct", result.IsCorrect);
        });
    }

    /// <summary>Takes the tree of a problem without a verdict.</summary>
    /// <param name="result">What the search found.</param>
    /// <param name="prompt">Token ids of the problem.</param>
    public void Add(SearchResult result, int[] prompt) => Add(result.Problem + 1, prompt, result, json =>
    {
        json.WriteString("question", ResponseText.Of(tokenizer, [], prompt));
        json.WriteString("answer", ResponseText.Of(tokenizer, prompt, result.Best.Solution()));
    });

    /// <summary>Writes all trees in the order of their problems.</summary>
    public void Save(string path)
    {
        string[] lines = [.. _trees.OrderBy(x => x.Line).Select(x => x.Json)];
        if (path.EndsWith(".html", StringComparison.OrdinalIgnoreCase)) AtomicFile.WriteText(path, TreePage.Html(lines));
        else AtomicFile.WriteText(path, string.Concat(lines.Select(x => x + "\n")));
    }

    private void Add(int line, int[] prompt, SearchResult search, Action<Utf8JsonWriter> problem) => _trees.Add((line, JsonLineWriter.Format(json =>
    {
        json.WriteNumber("line", line);
        problem(json);
        Write(json, prompt, search);
    })));

    private void Write(Utf8JsonWriter json, int[] prompt, SearchResult search)
    {
        json.WriteBoolean("finished", search.Best.IsFinished);
        json.WriteNumber("distinct_tokens", search.Counts.DistinctTokens);
        json.WriteNumber("calls", search.Counts.Calls);
        var numbers = new Dictionary<SearchNode, int>();
        json.WriteStartArray("nodes");
        foreach (SearchNode node in search.Root.Subtree())
        {
            numbers[node] = numbers.Count;
            json.WriteStartObject();
            json.WriteNumber("id", numbers[node]);
            if (node.Parent is not null) json.WriteNumber("parent", numbers[node.Parent]);
            json.WriteString("text", Text(prompt, node));
            json.WriteIds("ids", [.. node.Tokens]);
            if (node.Tokens.Count > 0) json.WriteNumber("log_prob", Math.Round(node.LogProbs.Sum(x => (double)x), 5));
            Number(json, "value", node.Value);
            if (node.Parent is not null) Number(json, "advantage", node.Value - node.Parent.Value);
            json.WriteNumber("visits", node.Visits);
            json.WriteBoolean("kept", node.IsKept);
            json.WriteString("state", node.IsFinished ? "finished" : node.IsCut ? "cut" : "open");
            json.WriteEndObject();
        }
        json.WriteEndArray();
        json.WriteNumber("best", numbers[search.Best]);
    }

    private static void Number(Utf8JsonWriter json, string name, float value)
    {
        if (float.IsFinite(value)) json.WriteNumber(name, Math.Round(value, 6));
        else json.WriteNull(name);
    }

    /// <summary>The text that a step adds to what stands before it.</summary>
    private string Text(int[] prompt, SearchNode node)
    {
        if (node.Parent is null) return ResponseText.Of(tokenizer, [], prompt);
        StreamingDecoder decoder = ResponseText.Behind(tokenizer, prompt);
        foreach (int id in node.Parent.Solution()) decoder.Append(id);
        var text = new System.Text.StringBuilder();
        foreach (int id in node.Tokens) text.Append(decoder.Append(id));
        return text.Append(decoder.Flush()).ToString();
    }
}
