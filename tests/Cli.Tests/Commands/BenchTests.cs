using System.Text.Json;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

/// <summary>The fields are there and mean what they say; how fast a machine is, no test can know.</summary>
public sealed class BenchTests
{
    [Theory]
    [InlineData("sft")]
    [InlineData("dpo")]
    [InlineData("kto")]
    [InlineData("oreo")]
    [InlineData("fwdbwd")]
    public void AStepIsMeasured(string objective)
    {
        JsonElement json = Json("bench", "step", "--size", "tiny", "--objective", objective, "--steps", "2", "--json");
        Assert.Equal(objective, json.GetProperty("objective").GetString());
        Rates(json, 2);
        Positive(json, "peak_rss_mb");
        Assert.Equal(4 * 64 / json.GetProperty("median_seconds").GetDouble(), Positive(json, "tokens_per_second"), 1e-3 * json.GetProperty("tokens_per_second").GetDouble());
        // Two layers of 2·64·64 + 2·64·32 + 3·64·176 weights; heads of 128·64 and 64; attention of 4·2·64·64; three passes, four and three for OREO, four for KTO.
        double trunk = 2 * (2.0 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 176)) + 4 * 2 * 64 * 64, policy = trunk + 2 * 128 * 64, value = trunk + 2 * 64;
        double flops = 256 * (objective switch { "oreo" => 4 * policy + 3 * value, "kto" => 4 * policy, _ => 3 * policy });
        Assert.Equal(flops, json.GetProperty("gflops").GetDouble() * 1e9 * json.GetProperty("median_seconds").GetDouble(), 1e-3 * flops);
    }

    [Fact]
    public void TheProfileSaysWhereAStepsTimeGoes()
    {
        JsonElement json = Json("bench", "step", "--size", "tiny", "--objective", "oreo", "--steps", "2", "--profile", "--json");
        JsonElement[] parts = [.. json.GetProperty("profile").EnumerateArray()];
        string[] names = [.. parts.Select(x => x.GetProperty("part").GetString()!)];
        foreach (string part in (string[])["MatMul Multiply", "MatMul Transposed", "Attention Forward", "Attention Backward", "RmsNorm Forward", "AdamW Step"]) Assert.Contains(part, names);
        Assert.All(parts, x => Positive(x, "share"));
        Positive(parts[Array.IndexOf(names, "MatMul Transposed")], "gflops");
        Assert.False(Json("bench", "step", "--size", "tiny", "--steps", "2", "--json").TryGetProperty("profile", out _));
        Assert.Contains("one thread alone", CliRun.Of("bench", "step", "--size", "tiny", "--steps", "2", "--profile").Succeeds().Output, StringComparison.Ordinal);
        CliRun.Of("bench", "gemm", "--shapes", "2x2x2", "--profile").Fails(2, "--profile belongs to step");
    }

    [Theory]
    [InlineData("f32", 4)]
    [InlineData("bf16", 2)]
    [InlineData("int8", 1)]
    public void DecodingIsMeasured(string dtype, int weightBytes)
    {
        JsonElement json = Json("bench", "decode", "--size", "tiny", "--dtype", dtype, "--batch", "3", "--new-tokens", "5", "--prompt-tokens", "9", "--steps", "3", "--warmup", "0", "--json");
        Rates(json, 3);
        Rates(json.GetProperty("prompts"), 3);
        Positive(json, "read_loop_gbps");
        Assert.Equal(dtype, json.GetProperty("dtype").GetString());
        // Matrices at least, a few vectors and scales beside them; keys and values of three tokens on average, two layers of 2·32 floats each, three times.
        double matrices = weightBytes * (2.0 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 176) + 128 * 64), read = 5 * (matrices + 3 * 3 * 2 * 2 * 32 * 4);
        Assert.InRange(Positive(json, "read_gbps") * 1e9 * json.GetProperty("median_seconds").GetDouble() / read, 0.999, 1.1);
        Assert.Equal(json.GetProperty("read_gbps").GetDouble() / json.GetProperty("read_loop_gbps").GetDouble(), Positive(json, "share_of_read_loop"), 3);
        Assert.Equal(15 / json.GetProperty("median_seconds").GetDouble(), Positive(json, "tokens_per_second"), 1e-3 * json.GetProperty("tokens_per_second").GetDouble());
    }

    [Fact]
    public void SizesCanBeChangedOneByOne()
    {
        JsonElement json = Json("bench", "step", "--size", "tiny", "--objective", "dpo", "--channels", "32", "--batch", "3", "--length", "16", "--steps", "2", "--json");
        // Pairs: the batch is rounded up.
        Assert.Equal([4, 16, 32], ((string[])["batch", "length", "channels"]).Select(x => json.GetProperty(x).GetInt32()));
        Assert.Equal(4 * 16 / json.GetProperty("median_seconds").GetDouble(), Positive(json, "tokens_per_second"), 1e-3 * json.GetProperty("tokens_per_second").GetDouble());
        // Half the channels: two layers of 2·32·32 + 2·32·16 + 3·32·88 weights, a head of 128·32; attention of 4·2·16·32; three passes.
        double flops = 3 * 64 * (2 * (2.0 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 88) + 128 * 32) + 4 * 2 * 16 * 32);
        Assert.Equal(flops, json.GetProperty("gflops").GetDouble() * 1e9 * json.GetProperty("median_seconds").GetDouble(), 1e-3 * flops);
        CliRun.Of("bench", "step", "--size", "tiny", "--channels", "36").Fails(1, "expected channels of tiny in multiples of 8", "received 36.");
    }

    [Fact]
    public void ProductsAreMeasuredOneByOne()
    {
        JsonElement json = Json("bench", "gemm", "--shapes", "5x7x9,16x32x64", "--steps", "4", "--json");
        Rates(json, 4);
        JsonElement[] shapes = [.. json.GetProperty("shapes").EnumerateArray()];
        Assert.Equal(["5x7x9", "16x32x64"], shapes.Select(x => x.GetProperty("shape").GetString()!));
        foreach (JsonElement shape in shapes) Rates(shape, 4);
        double flops = 2 * 16 * 32 * 64;
        Assert.Equal(flops, shapes[1].GetProperty("gflops").GetDouble() * 1e9 * shapes[1].GetProperty("median_seconds").GetDouble(), 1e-3 * flops);
    }

    [Fact]
    public void SearchIsMeasuredThreeWays()
    {
        string[] args = ["bench", "search", "--size", "tiny", "--width", "2", "--problems", "3", "--prompt-tokens", "20", "--step-tokens", "5", "--depth", "3"];
        JsonElement json = Json([.. args, "--json"]);
        double distinct = Positive(json, "distinct_tokens");
        foreach (string name in (string[])["policy_tokens", "value_tokens"]) Assert.InRange(Positive(json, name), 0.5 * distinct, 1.05 * distinct);
        foreach (string name in (string[])["seconds", "resend_seconds", "per_beam_seconds"]) Positive(json, name);
        // Rounds of 4 samples: the prompt and what came before again for each, by both models.
        Assert.Equal(3 * (4 * 24 + 4 * 29 + 4 * 34), json.GetProperty("resend_policy_tokens").GetInt32());
        Assert.Equal(3 * (20 + 4 * 25 + 4 * 30 + 4 * 35), json.GetProperty("resend_value_tokens").GetInt32());
        Assert.Contains("shared tree", CliRun.Of(args).Succeeds().Output, StringComparison.Ordinal);
    }

    [Fact]
    public void SearchKeepsItsMemoryLimitEachWay()
    {
        // One MiB is 64 pages of the smallest model for policy and value model each; 108 paths of two and more pages wait and are computed again.
        JsonElement json = Json(["bench", "search", "--size", "tiny", "--width", "3", "--problems", "12", "--prompt-tokens", "20", "--step-tokens", "5", "--depth", "3", "--memory", "1", "--json"]);
        foreach (string name in (string[])["evictions", "per_beam_evictions", "resend_evictions"]) Positive(json, name);
        CliRun.Of("bench", "search", "--size", "S1", "--memory", "1").Fails(1, "the memory limit holds", "raise the limit");
    }

    [Fact]
    public void PeopleGetText()
    {
        CliRun run = CliRun.Of("bench", "gemm", "--shapes", "5x7x9", "--steps", "1").Succeeds();
        Assert.Contains("5x7x9", run.Output, StringComparison.Ordinal);
        Assert.Contains("of the peak of", run.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("expected a measurement.")]
    [InlineData("expected step, decode, gemm, search as the measurement, received 'stop'.", "stop")]
    [InlineData("--size: expected tiny, S1, S2, S3, received 'S9'", "step", "--size", "S9")]
    [InlineData("--objective: expected sft, dpo, kto, oreo, fwdbwd, received 'ppo'", "step", "--objective", "ppo")]
    [InlineData("--steps: expected a whole number 1 or more, received '0'.", "step", "--steps", "0")]
    [InlineData("gemm needs --shapes", "gemm")]
    [InlineData("--shapes: expected MxKxN", "gemm", "--shapes", "5x7")]
    [InlineData("received '5x0x7'", "gemm", "--shapes", "4x4x4,5x0x7")]
    [InlineData("received '100000x100000x1'", "gemm", "--shapes", "100000x100000x1")]
    [InlineData("--shapes belongs to gemm, not to step.", "step", "--shapes", "5x7x9")]
    [InlineData("--batch belongs to step and decode, not to search.", "search", "--batch", "2")]
    [InlineData("--length belongs to step, not to decode.", "decode", "--length", "64")]
    [InlineData("--size belongs to step and decode and search, not to gemm.", "gemm", "--shapes", "5x7x9", "--size", "S1")]
    [InlineData("--width belongs to search, not to step.", "step", "--width", "2")]
    [InlineData("--steps belongs to step and decode and gemm, not to search.", "search", "--steps", "2")]
    public void WrongUsageIsOneLine(string expected, params string[] args) => CliRun.Of(["bench", .. args]).Fails(2, expected, "--help'.");

    private static JsonElement Json(params string[] args)
    {
        using var json = JsonDocument.Parse(CliRun.Of(args).Succeeds().Lines[^1]);
        return json.RootElement.Clone();
    }

    private static double Positive(JsonElement json, string name)
    {
        double value = json.GetProperty(name).GetDouble();
        Assert.True(double.IsFinite(value) && value > 0, $"{name} is {value}");
        return value;
    }

    private static void Rates(JsonElement json, int repeats)
    {
        Positive(json, "gflops");
        double[] seconds = [.. json.GetProperty("seconds").EnumerateArray().Select(x => x.GetDouble())];
        Assert.Equal(repeats, seconds.Length);
        Assert.All(seconds, x => Assert.True(double.IsFinite(x) && x > 0, $"{x} seconds"));
        Assert.InRange(Positive(json, "median_seconds"), seconds.Min(), seconds.Max());
        Positive(json, "share_of_peak");
    }
}
