using System.Buffers.Binary;
using System.Text;
using System.Text.Json.Nodes;
using Xunit;

namespace Bellman.Cli.Tests;

/// <summary>Damaged and hostile model folders: one line that names the thing, exit code 1, and the output file as it was.</summary>
public sealed class DamagedFilesTests(TinyModel model) : IClassFixture<TinyModel>
{
    public static TheoryData<string, string> Damages => new()
    {
        { "no folder", "check the path" },
        { "no config", "config.json" },
        { "config is no JSON", "config.json" },
        { "unknown family", "mamba" },
        { "no weights", "safetensors" },
        { "truncated weights", "model.safetensors" },
        { "header beyond the file", "model.safetensors" },
        { "overlapping tensors", "model.safetensors" },
        { "offsets beyond the file", "model.safetensors" },
        { "wrong shape", "embed_tokens" },
        { "missing tensor", "missing" },
        { "no tokenizer", "tokenizer" },
        { "tokenizer is no JSON", "tokenizer.json" },
        { "larger tokenizer", "the tokenizer has ids up to 97, the model's vocabulary has 90" },
        { "NaN in the weights", "expected finite weights, received NaN" },
        { "weights that overflow", "weights" },
    };

    [Theory]
    [MemberData(nameof(Damages))]
    public void ScoreNamesTheDamage(string damage, string part)
    {
        string folder = Damage(damage), target = model.Write("target.jsonl", "old");
        CliRun.WithInput("{\"ids\":[5,6,7]}", "score", "--model", folder, "--input", "-", "--out", target).Fails(1, "bellman score: ", part);
        Assert.Equal("old\n", File.ReadAllText(target));
        Assert.Empty(Directory.GetFiles(model.Folder, ".target*"));
    }

    [Theory]
    [MemberData(nameof(Damages))]
    public void GenerateNamesTheDamage(string damage, string part)
    {
        string folder = Damage(damage), target = model.Write("texts.jsonl", "old");
        CliRun.WithInput("{\"prompt\":\"ab\"}", "generate", "--model", folder, "--input", "-", "--out", target, "--max-tokens", "4").Fails(1, "bellman generate: ", part);
        Assert.Equal("old\n", File.ReadAllText(target));
    }

    [Fact]
    public void TrainingOnBrokenWeightsStopsBeforeTheFirstUpdateIsSaved()
    {
        string data = model.Write("d.jsonl", """{"prompt":"1","response":"2","reward":1}""");
        string recipe = model.Write("r.yaml", "objective: oreo", $"out: {model.File("broken-run")}", $"model: {{policy: {Damage("weights that overflow")}}}", $"data: {{train: {data}, max_length: 32}}");
        CliRun.Of("train", recipe).Fails(1, "gradient norm", "NaN");
        Assert.False(Directory.Exists(model.File("broken-run/policy")));
        Assert.False(Directory.Exists(model.File("broken-run/checkpoints")));
    }

    private string Damage(string damage)
    {
        string folder = model.File("damaged");
        if (Directory.Exists(folder)) Directory.Delete(folder, recursive: true);
        if (damage == "no folder") return folder;
        Directory.CreateDirectory(folder);
        foreach (string file in Directory.GetFiles(model.Policy)) File.Copy(file, Path.Combine(folder, Path.GetFileName(file)));
        string weights = Path.Combine(folder, "model.safetensors"), config = Path.Combine(folder, "config.json"), tokenizer = Path.Combine(folder, "tokenizer.json");
        switch (damage)
        {
            case "no config": File.Delete(config); break;
            case "config is no JSON": File.WriteAllText(config, "{"); break;
            case "unknown family": Edit(config, x => x["model_type"] = "mamba"); break;
            case "no weights": File.Delete(weights); break;
            case "truncated weights": File.WriteAllBytes(weights, File.ReadAllBytes(weights)[..^8]); break;
            case "header beyond the file":
                byte[] bytes = File.ReadAllBytes(weights);
                BinaryPrimitives.WriteInt64LittleEndian(bytes, long.MaxValue);
                File.WriteAllBytes(weights, bytes);
                break;
            case "overlapping tensors": EditHeader(weights, x => x.First(y => y.Key != "__metadata__").Value!["data_offsets"] = new JsonArray(0, 128)); break;
            case "offsets beyond the file": EditHeader(weights, x => x.First(y => y.Key != "__metadata__").Value!["data_offsets"] = new JsonArray(1L << 40, (1L << 40) + 64)); break;
            case "wrong shape": EditHeader(weights, x => x["model.embed_tokens.weight"]!["shape"] = new JsonArray(49, 32)); break;
            case "missing tensor":
                EditHeader(weights, x =>
                {
                    JsonNode norm = x["model.norm.weight"]!.DeepClone();
                    x.Remove("model.norm.weight");
                    x["model.other.weight"] = norm;
                });
                break;
            case "no tokenizer": File.Delete(tokenizer); break;
            case "tokenizer is no JSON": File.WriteAllText(tokenizer, "[1,"); break;
            case "larger tokenizer": Edit(config, x => x["vocab_size"] = 90); break;
            case "NaN in the weights" or "weights that overflow":
                byte[] all = File.ReadAllBytes(weights);
                int header = (int)BinaryPrimitives.ReadInt64LittleEndian(all);
                for (int at = 8 + header; at < all.Length; at += 4 * 7) BinaryPrimitives.WriteSingleLittleEndian(all.AsSpan(at), damage == "NaN in the weights" ? float.NaN : 3e38f);
                File.WriteAllBytes(weights, all);
                break;
            default: throw new ArgumentOutOfRangeException(nameof(damage), damage, "unknown");
        }
        return folder;
    }

    private static void Edit(string path, Action<JsonObject> change)
    {
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        change(json);
        File.WriteAllText(path, json.ToJsonString());
    }

    private static void EditHeader(string path, Action<JsonObject> change)
    {
        byte[] bytes = File.ReadAllBytes(path);
        int length = (int)BinaryPrimitives.ReadInt64LittleEndian(bytes);
        JsonObject header = JsonNode.Parse(Encoding.UTF8.GetString(bytes, 8, length))!.AsObject();
        change(header);
        byte[] text = Encoding.UTF8.GetBytes(header.ToJsonString());
        byte[] padded = [.. text, .. Enumerable.Repeat((byte)' ', (8 - text.Length % 8) % 8)];
        byte[] size = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(size, padded.Length);
        File.WriteAllBytes(path, [.. size, .. padded, .. bytes[(8 + length)..]]);
    }
}
