namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// The files of a model folder that training does not change: tokenizer, chat template, generation settings. A trained model takes
/// them along so that its folder is complete.
/// </summary>
public static class CompanionFiles
{
    /// <summary>Names that may lie in a model folder beside configuration and weights.</summary>
    public static IReadOnlyList<string> Names { get; } =
    [
        "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
        "chat_template.jinja", "chat_template.json", "generation_config.json",
    ];

    /// <summary>Copies those that are there; returns their names.</summary>
    /// <exception cref="CheckpointException">A file cannot be read or written.</exception>
    public static IReadOnlyList<string> Copy(string sourceFolder, string targetFolder)
    {
        var copied = new List<string>();
        foreach (string name in Names)
        {
            string source = Path.Combine(sourceFolder, name), target = Path.Combine(targetFolder, name);
            if (!File.Exists(source) || Path.GetFullPath(source) == Path.GetFullPath(target)) continue;
            // Through a stream: a plain copy would take over a read-only mark and then refuse the next save.
            AtomicFile.Write(target, stream =>
            {
                using FileStream input = new(source, FileMode.Open, FileAccess.Read, FileShare.Read);
                input.CopyTo(stream);
            });
            copied.Add(name);
        }
        return copied;
    }
}
