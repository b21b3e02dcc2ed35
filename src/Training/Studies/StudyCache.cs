using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Bellman.Runtime.Checkpoints;

namespace Bellman.Training.Studies;

/// <summary>
/// What a study has finished, in its folder: a stage's file or folder is named after everything that decides its result, so an
/// interrupted or extended study takes up what is there and nothing that no longer fits.
/// </summary>
/// <param name="folder">The study's folder.</param>
internal sealed class StudyCache(string folder)
{
    // Raised when results change although settings do not. 2: search draws from the shared tree. 3: votes agree on answers first.
    private const string Version = "3";

    /// <summary>A short name for everything that decides a result.</summary>
    public static string KeyOf(params ReadOnlySpan<object?> parts)
    {
        var text = new StringBuilder(Version);
        foreach (object? part in parts) text.Append('\n').Append(JsonSerializer.Serialize(part));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())))[..16];
    }

    /// <summary>A result as JSON: read where it is, else computed and written.</summary>
    public T Result<T>(string key, Func<T> compute)
    {
        string path = Path.Combine(folder, "results", key + ".json");
        if (File.Exists(path))
        {
            try
            {
                if (JsonSerializer.Deserialize<T>(File.ReadAllBytes(path)) is { } known) return known;
            }
            catch (JsonException)
            {
                // Damaged from outside, as writing is atomic: compute it again.
            }
        }
        T result = compute();
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        AtomicFile.WriteBytes(path, JsonSerializer.SerializeToUtf8Bytes(result));
        return result;
    }

    /// <summary>A folder with models: taken as it is, else built whole or not at all.</summary>
    public string Models(string key, Action<string> build)
    {
        string path = ModelFolder(key);
        AtomicFolder.Recover(path);
        if (!Directory.Exists(path))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            AtomicFolder.Write(path, build);
        }
        return path;
    }

    /// <summary>Deletes a folder of models that nothing needs any more.</summary>
    public void Drop(string key)
    {
        if (Directory.Exists(ModelFolder(key))) Directory.Delete(ModelFolder(key), recursive: true);
    }

    private string ModelFolder(string key) => Path.Combine(folder, "models", key);
}
