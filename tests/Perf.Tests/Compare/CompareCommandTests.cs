using System.Text.Json;
using Bellman.Kernels;
using Bellman.Perf.Compare;
using Bellman.Tests;
using Xunit;

namespace Bellman.Perf.Tests.Compare;

public sealed class CompareCommandTests
{
    private static readonly CompareCase[] Cases = [new("step/S1/sft", []), new("step/S1/oreo", []), new("step/S10/sft", []), new("gemm/1x2x3", [])];

    [Fact]
    public void Cases_are_chosen_by_whole_parts_of_their_names()
    {
        Assert.Equal(["step/S1/sft", "step/S1/oreo"], CompareCommand.Choose(Cases, ["step/S1"]).Select(x => x.Key));
        Assert.Equal(["step/S1/oreo", "gemm/1x2x3"], CompareCommand.Choose(Cases, ["gemm/", "step/S1/oreo"]).Select(x => x.Key));
        Assert.Equal(Cases, CompareCommand.Choose(Cases, []));
        Assert.Empty(CompareCommand.Choose(Cases, [CompareCases.Peaks]));
    }

    [Fact]
    public void An_unknown_case_is_refused() =>
        Assert.Contains("no case 'steps'", Assert.Throws<BellmanException>(() => CompareCommand.Choose(Cases, ["steps"])).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(12)]
    public void Cases_have_names_of_their_own_and_belong_to_a_suite(int cores)
    {
        IReadOnlyList<CompareCase> cases = CompareCases.All(cores);
        Assert.Equal(cases.Count, cases.Select(x => x.Key).Distinct().Count());
        Assert.All(cases, x => Assert.Contains(x.Suite, CompareCases.Suites));
        Assert.All(cases, x => Assert.Equal("--json", x.Ours[^1]));
    }

    [Fact]
    public void A_step_is_read_from_both_programs()
    {
        (Sample ours, IReadOnlyList<ProfilePart> profile) = BellmanProgram.Read(Json("""
            {"measurement":"step","tokens_per_second":2000.5,"gflops":150,"share_of_peak":0.75,"peak_rss_mb":300.5,"profile":[{"part":"MatMul","share":0.6,"seconds":0.1,"gflops":180},{"part":"AdamW","share":0.1,"seconds":0.01}]}
            """));
        Assert.Equal(new Sample(2000.5, 300.5, 150, 0.75), ours);
        Assert.Equal([new ProfilePart("MatMul", 0.6, 180), new ProfilePart("AdamW", 0.1)], profile);
        Assert.Equal(new Sample(1000.5, 900), PeerProgram.Read(Json("""{"mode":"sft","tokens_per_s":1000.5,"gflops":100,"peak_rss_mib":900}""")));
    }

    [Fact]
    public void A_product_is_measured_in_operations()
    {
        Assert.Equal(new Sample(180, 70, 180, 0.9, 20, 0.8), BellmanProgram.Read(Json("""{"gflops":180,"share_of_peak":0.9,"peak_rss_mb":70,"read_gbps":20,"share_of_read_loop":0.8}""")).Sample);
        Assert.Equal(new Sample(90, 250), PeerProgram.Read(Json("""{"mode":"gemm","rows":[{"shape":"1x2x3","gflops_median":90}],"peak_rss_mib":250}""")));
    }

    [Fact]
    public void Prompts_are_read_where_they_were_asked_for() => Assert.Equal(new Sample(400, 70, 90, 0.45), BellmanProgram.Read(Json(
        """{"tokens_per_second":20,"gflops":10,"share_of_peak":0.05,"peak_rss_mb":70,"read_gbps":20,"share_of_read_loop":0.8,"prompts":{"tokens_per_second":400,"gflops":90,"share_of_peak":0.45}}""")).Sample);

    [Fact]
    public void A_missing_peer_is_told_with_its_reason()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Assert.Null(PeerProgram.Find(folder.File("peer.py"), ["python3"], out string missing));
        Assert.Contains("peer.py is not there; name one with --peer", missing, StringComparison.Ordinal);
        File.WriteAllText(folder.File("peer.py"), "");
        Assert.Null(PeerProgram.Find(folder.File("peer.py"), ["no-such-python"], out missing));
        Assert.Contains("no-such-python cannot be started", missing, StringComparison.Ordinal);
        Assert.Contains("--python", missing, StringComparison.Ordinal);
    }

    [Fact]
    public void A_child_that_ends_badly_is_named_with_its_last_words()
    {
        string missing = Path.Combine(AppContext.BaseDirectory, "bellman.dll");
        BellmanException error = Assert.Throws<BellmanException>(() => ChildRun.Json("dotnet", [missing, "bench", "stop"]));
        Assert.Contains("bellman.dll bench stop: exit code 2: bellman bench: expected step", error.Message, StringComparison.Ordinal);
        error = Assert.Throws<BellmanException>(() => ChildRun.Json("dotnet", [missing, "--version"]));
        Assert.Contains("expected one JSON object as the last line", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void The_command_lies_beside_this_program()
    {
        (Sample sample, _) = BellmanProgram.Run(["bench", "step", "--size", "tiny", "--steps", "1", "--warmup", "0", "--json"], threads: 1);
        Assert.True(sample is { Rate: > 0, MemoryMib: > 0, Gflops: > 0, ShareOfPeak: > 0 }, sample.ToString());
    }

    private static JsonElement Json(string text)
    {
        using var json = JsonDocument.Parse(text);
        return json.RootElement.Clone();
    }
}
