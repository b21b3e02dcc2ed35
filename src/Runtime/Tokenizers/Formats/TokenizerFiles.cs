using System.Text;

namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>The files of a tokenizer as bytes, whatever they were found as; what <see cref="Tokenizer.Save"/> writes back.</summary>
/// <param name="Name">Path for error messages.</param>
/// <param name="Json">tokenizer.json.</param>
/// <param name="ConfigBytes">tokenizer_config.json, or null.</param>
/// <param name="Config">The same, read.</param>
/// <param name="ChatTemplate">chat_template.jinja, or null.</param>
internal sealed record TokenizerFiles(string Name, byte[] Json, byte[]? ConfigBytes, TokenizerConfig Config, string? ChatTemplate)
{
    /// <summary>Looks in a folder for tokenizer.json, then vocab.json with merges.txt, then tokenizer.model.</summary>
    public static TokenizerFiles Find(string path)
    {
        bool isFile = File.Exists(path);
        if (!isFile && !Directory.Exists(path))
            throw new TokenizerException($"{path}: expected a tokenizer folder or a tokenizer.json, found nothing there; check the path.");
        string folder = isFile ? Path.GetDirectoryName(Path.GetFullPath(path))! : path;
        string configPath = Path.Combine(folder, "tokenizer_config.json");
        byte[]? configBytes = WholeFile.ReadOptional(configPath);
        TokenizerConfig config = TokenizerConfig.Read(configBytes, WholeFile.ReadOptional(Path.Combine(folder, "special_tokens_map.json")), configPath);
        byte[]? template = WholeFile.ReadOptional(Path.Combine(folder, "chat_template.jinja"));
        var files = new TokenizerFiles(path, [], configBytes, config, template is null ? null : Encoding.UTF8.GetString(template));

        string json = isFile ? path : Path.Combine(folder, "tokenizer.json");
        if (isFile && path.EndsWith(".model", StringComparison.Ordinal)) return FromSentencePiece(files, path);
        if (File.Exists(json)) return files with { Name = json, Json = WholeFile.Read(json) };

        string vocab = Path.Combine(folder, "vocab.json"), merges = Path.Combine(folder, "merges.txt");
        if (File.Exists(vocab) && File.Exists(merges))
            return files with { Name = vocab, Json = VocabMergesFiles.Convert(WholeFile.Read(vocab), WholeFile.Read(merges), config, vocab, merges) };

        string model = Path.Combine(folder, "tokenizer.model");
        return File.Exists(model) ? FromSentencePiece(files, model)
            : throw new TokenizerException($"{folder}: expected tokenizer.json, or vocab.json with merges.txt, or tokenizer.model; found none of them.");
    }

    /// <summary>A tokenizer made in memory.</summary>
    public static TokenizerFiles Of(string name, byte[] json, byte[] config) =>
        new(name, json, config, TokenizerConfig.Read(config, null, name), null);

    private static TokenizerFiles FromSentencePiece(TokenizerFiles files, string path)
    {
        (byte[] json, string? bos, string? eos, string? pad, string? unknown) = SentencePieceFile.Convert(WholeFile.Read(path), files.Config, path);
        files = files with { Name = path, Json = json };
        if (files.ConfigBytes is not null) return files;
        byte[] config = TokenizerJson.WriteConfig(bos, eos, pad, unknown, null);
        return files with { ConfigBytes = config, Config = TokenizerConfig.Read(config, null, path) };
    }
}
