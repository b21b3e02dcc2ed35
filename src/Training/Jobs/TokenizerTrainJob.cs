using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Data;

namespace Bellman.Training.Jobs;

/// <summary>What a tokenizer is trained to be.</summary>
public sealed record TokenizerTrainOptions
{
    /// <summary>Tokens wanted; the result has fewer when no pair of neighbours occurs twice any more.</summary>
    public int VocabularySize { get; init; } = 4096;

    /// <summary>Fields whose texts are read; empty for every text of a line.</summary>
    public IReadOnlyList<string> Fields { get; init; } = [];

    /// <summary>Special tokens besides those below.</summary>
    public IReadOnlyList<string> SpecialTokens { get; init; } = [];

    /// <summary>Token that begins a text, or null.</summary>
    public string? BosToken { get; init; }

    /// <summary>Token that ends a text.</summary>
    public string EosToken { get; init; } = "<|endoftext|>";

    /// <summary>Padding token, or null.</summary>
    public string? PadToken { get; init; }

    /// <summary>Where text is cut (a regular expression); null for <see cref="BpeTrainer.DefaultSplitPattern"/>.</summary>
    public string? SplitPattern { get; init; }
}

/// <summary>How the training of a tokenizer ended.</summary>
/// <param name="VocabularySize">Tokens it has.</param>
/// <param name="Lines">Lines read.</param>
/// <param name="Texts">Texts found in them.</param>
/// <param name="Bytes">UTF-8 bytes of the texts.</param>
/// <param name="Tokens">Tokens that the texts make with it.</param>
public sealed record TokenizerTrainResult(int VocabularySize, int Lines, int Texts, long Bytes, long Tokens)
{
    /// <summary>UTF-8 bytes that one token stands for.</summary>
    public double BytesPerToken => (double)Bytes / Tokens;
}

/// <summary>Trains a byte-level BPE tokenizer on the texts of JSONL files.</summary>
public sealed class TokenizerTrainJob
{
    private readonly TokenizerTrainOptions _options;

    /// <summary>A job with settings.</summary>
    public TokenizerTrainJob(TokenizerTrainOptions options) => _options = options;

    /// <summary>Trains and writes <c>tokenizer.json</c> and <c>tokenizer_config.json</c> into a new or empty folder.</summary>
    /// <param name="lines">The training lines.</param>
    /// <param name="folder">Where to.</param>
    /// <param name="progress">Told now and then.</param>
    /// <param name="cancellation">Stops between lines.</param>
    /// <exception cref="Kernels.BellmanException">A line lacks a field, there is no text, the settings are wrong, or the folder is taken.</exception>
    public TokenizerTrainResult Run(IEnumerable<JsonLine> lines, string folder, Action<JobProgress>? progress = null, CancellationToken cancellation = default)
    {
        NewFolder.Check(folder);
        var texts = new List<string>();
        int count = 0;
        foreach (JsonLine line in lines)
        {
            cancellation.ThrowIfCancellationRequested();
            if (_options.Fields.Count == 0) texts.AddRange(line.AllTexts());
            foreach (string field in _options.Fields) texts.Add(line.Text(field));
            if (++count % 256 == 0) progress?.Invoke(new JobProgress("reading", count, 0, "lines"));
        }
        if (texts.TrueForAll(string.IsNullOrEmpty)) throw new DataException($"Tokenizer training: expected texts in the lines, received {count} lines without any; name the fields.");
        progress?.Invoke(new JobProgress("learning merges", 0, 0, "merges"));
        Tokenizer tokenizer = BpeTrainer.Train(texts, _options.VocabularySize, _options.SpecialTokens, _options.BosToken, _options.EosToken, _options.PadToken, _options.SplitPattern);
        long bytes = 0, tokens = 0;
        foreach (string text in texts)
        {
            cancellation.ThrowIfCancellationRequested();
            bytes += System.Text.Encoding.UTF8.GetByteCount(text);
            tokens += tokenizer.CountTokens(text);
        }
        AtomicFolder.Write(folder, tokenizer.Save, replace: true);
        return new TokenizerTrainResult(tokenizer.VocabularySize, count, texts.Count, bytes, tokens);
    }
}
