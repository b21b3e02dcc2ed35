using Bellman.Runtime.Tokenizers;

namespace Bellman.Training.Jobs;

/// <summary>Adds token ids to texts, and texts to token ids.</summary>
public sealed class TokenizeJob
{
    private readonly Tokenizer _tokenizer;

    /// <summary>A job for a tokenizer.</summary>
    public TokenizeJob(Tokenizer tokenizer) => _tokenizer = tokenizer;

    /// <summary>Whether ids get the start and end tokens that the tokenizer puts around a text.</summary>
    public bool AddSpecialTokens { get; init; }

    /// <summary>Whether texts leave special tokens out.</summary>
    public bool SkipSpecialTokens { get; init; }

    /// <summary>Lines with <c>text</c> get <c>ids</c>, lines with <c>ids</c> get <c>text</c>; other fields stay.</summary>
    /// <returns>Lines and tokens.</returns>
    /// <exception cref="Data.DataException">A line has neither field or both.</exception>
    public (int Lines, long Tokens) Run(IEnumerable<JsonLine> lines, JsonLineWriter output, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        int count = 0;
        long tokens = 0;
        foreach (JsonLine line in lines)
        {
            cancellation.ThrowIfCancellationRequested();
            if (line.Has("text") && line.Has("ids")) throw line.Error("expected a field 'text' or 'ids', received both; keep one.");
            if (line.Has("ids"))
            {
                int[] ids = line.Ids("ids");
                string text = Checked(line, () => _tokenizer.Decode(ids, SkipSpecialTokens));
                tokens += ids.Length;
                output.Write(line, ["text"], json => json.WriteString("text", text));
            }
            else
            {
                string text = line.Text("text");
                int[] ids = Checked(line, () => _tokenizer.EncodeToIds(text, AddSpecialTokens));
                tokens += ids.Length;
                output.Write(line, ["ids"], json => json.WriteIds("ids", ids));
            }
            if (++count % 256 == 0) progress?.Invoke(new JobProgress("tokenizing", count, 0, "lines"));
        }
        return (count, tokens);
    }

    private static T Checked<T>(JsonLine line, Func<T> work)
    {
        try
        {
            return work();
        }
        catch (TokenizerException error)
        {
            throw line.Error(error.Message, error);
        }
    }
}
