using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Bellman.Runtime.Checkpoints;

/// <summary>
/// Writes the weights of a model folder: <c>model.safetensors</c>, or shards and <c>model.safetensors.index.json</c> above a
/// size. Each file appears whole or not at all; to replace a whole folder at once, write inside
/// <see cref="AtomicFolder.Write"/>.
/// </summary>
public static class CheckpointWriter
{
    /// <summary>Bytes of tensors per file: the common "5GB" of the Python writers.</summary>
    public const long DefaultShardBytes = 5_000_000_000;

    private static readonly JsonSerializerOptions _indented = new() { WriteIndented = true };

    /// <summary>Writes all tensors. A tensor larger than <paramref name="shardBytes"/> gets a shard of its own.</summary>
    /// <exception cref="CheckpointException">The folder is missing, two tensors have one name, or the disk refuses.</exception>
    public static void Write(string folder, IEnumerable<SafetensorsTensor> tensors, long shardBytes = DefaultShardBytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(shardBytes);
        string single = Path.Combine(folder, CheckpointReader.SingleFile), index = Path.Combine(folder, CheckpointReader.IndexFile);
        SafetensorsTensor[] sorted = SafetensorsWriter.Sort(tensors, single);
        List<List<SafetensorsTensor>> shards = Split(sorted, shardBytes);
        if (shards.Count <= 1)
        {
            SafetensorsWriter.Write(single, sorted);
            // Older shards are out of date; their index goes first, so that it never lists a missing file.
            Delete(index);
            DeleteShards(folder, []);
            return;
        }
        var map = new JsonObject();
        var kept = new HashSet<string>();
        long total = 0;
        for (int i = 0; i < shards.Count; i++)
        {
            string name = string.Create(CultureInfo.InvariantCulture, $"model-{i + 1:D5}-of-{shards.Count:D5}.safetensors");
            kept.Add(name);
            SafetensorsWriter.Write(Path.Combine(folder, name), shards[i]);
            foreach (SafetensorsTensor tensor in shards[i])
            {
                map[tensor.Name] = name;
                total += tensor.Bytes;
            }
        }
        var json = new JsonObject { ["metadata"] = new JsonObject { ["total_size"] = total }, ["weight_map"] = map };
        AtomicFile.WriteBytes(index, Encoding.UTF8.GetBytes(json.ToJsonString(_indented) + "\n"));
        // Readers prefer the single file: an old one must not outlive the new shards.
        Delete(single);
        DeleteShards(folder, kept);
    }

    private static List<List<SafetensorsTensor>> Split(SafetensorsTensor[] sorted, long shardBytes)
    {
        var shards = new List<List<SafetensorsTensor>>();
        long used = 0;
        foreach (SafetensorsTensor tensor in sorted)
        {
            if (shards.Count == 0 || (used > 0 && used + tensor.Bytes > shardBytes))
            {
                shards.Add([]);
                used = 0;
            }
            shards[^1].Add(tensor);
            used += tensor.Bytes;
        }
        return shards;
    }

    private static void DeleteShards(string folder, HashSet<string> kept)
    {
        foreach (string path in Directory.GetFiles(folder, "model-*-of-*.safetensors"))
            if (!kept.Contains(Path.GetFileName(path))) Delete(path);
    }

    private static void Delete(string path)
    {
        try { File.Delete(path); }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"{path}: this file of an older save cannot be deleted: {JsonFields.OneLine(error)}; delete it by hand.", error);
        }
    }
}
