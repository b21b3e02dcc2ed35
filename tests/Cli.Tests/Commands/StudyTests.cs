using System.Text.Json;
using Bellman.Tests;
using Xunit;

namespace Bellman.Cli.Tests.Commands;

public sealed class StudyTests
{
    private static readonly string[] Small =
    [
        "--set", "model.hidden=16", "--set", "model.layers=1", "--set", "model.heads=2", "--set", "model.feed_forward=32", "--set", "model.answer_tokens=24", "--set", "sft.demonstrations=200", "--set", "sft.batch_size=8",
        "--set", "sft.epochs=16", "--set", "sft.lr=1e-2", "--set", "data.problems=40", "--set", "data.samples=8", "--set", "evaluation.validation=8", "--set", "evaluation.held_out=8", "--set", "search.widths=[1]", "--set", "pictures=0",
    ];

    [Fact]
    public void A_study_prints_its_table_and_json_and_is_taken_up_again()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string file = folder.File("small.yaml"), home = folder.File("run");
        File.WriteAllText(file, "name: small\ntasks: {walk: {family: board, size: 3, walls: 2, min_distance: 1, max_distance: 1, slack: 0, noise: 0}}\nmethods: {oreo: {method: oreo_token, lr: 1e-3, epochs: 1}}\n");
        CliRun run = CliRun.Of(["study", file, "--seeds", "3", "--out", home, "--json", .. Small]).Succeeds();
        Assert.Contains("| oreo |", run.Output);
        using JsonDocument json = JsonDocument.Parse(run.Lines[^1]);
        Assert.InRange(json.RootElement.GetProperty("tasks").GetProperty("walk").GetProperty("oreo").GetProperty("accuracy").GetProperty("mean").GetDouble(), 0, 1);
        Assert.True(File.Exists(Path.Combine(home, "report.html")));

        CliRun.Of("study", file, "--seeds", "3", "--out", home).Fails(1, "--resume");
        CliRun.Of(["study", file, "--seeds", "3", "--out", home, "--resume", .. Small]).Succeeds();
    }

    [Fact]
    public void A_file_beside_quick_and_a_wrong_method_are_refused()
    {
        CliRun.Of("study", "my.yaml", "--quick").Fails(2, "--quick");
        CliRun.Of("study", "--quick", "--set", "methods.oreo.method=orea_token").Fails(2, "did you mean 'oreo_token'");
    }
}
