namespace Bellman.Runtime.Tokenizers.Formats;

/// <summary>Reads a file whole; troubles are one line.</summary>
internal static class WholeFile
{
    // The largest published tokenizer.json is below 40 MB.
    private const long MaxBytes = 512L << 20;

    public static byte[] Read(string path)
    {
        try
        {
            long length = new FileInfo(path).Length;
            if (length > MaxBytes) throw new TokenizerException($"{path}: expected a tokenizer file of at most {MaxBytes >> 20} MB, received {length >> 20} MB; is this the right file?");
            return File.ReadAllBytes(path);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{path}: cannot be read: {error.Message}", error);
        }
    }

    /// <summary>The file, or null when it is not there.</summary>
    public static byte[]? ReadOptional(string path) => File.Exists(path) ? Read(path) : null;
}
