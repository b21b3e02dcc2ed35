using System.Text.Json;
using Bellman.Runtime.Checkpoints;
using Bellman.Tests;
using Bellman.Training.Studies;
using Xunit;

namespace Bellman.Training.Tests.Studies;

/// <summary>A study of tiny models: every part runs, what is written can be read, and what is finished is kept.</summary>
public sealed class StudyJobTests
{
    private const string Tiny = """
        name: tiny
        seeds: [3, 4]
        compare_to: oreo
        pictures: 1
        model: {hidden: 32, layers: 1, heads: 2, feed_forward: 64, answer_tokens: 24}
        sft: {demonstrations: 250, epochs: 16, lr: 1e-2, batch_size: 16}
        data: {problems: 60, samples: 8}
        evaluation: {validation: 10, held_out: 12}
        search: {widths: [1, 2]}
        sweep: {vote: [2, 4], best-of-n-min: [2, 4], beam: [1, 2], temperatures: [0.5, 1], validation: 5, held_out: 8}
        tasks:
          short: {family: board, size: 3, walls: 2, min_distance: 1, max_distance: 1, slack: 0, noise: 0}
        methods:
          rejection: {method: rejection, lr: [1e-3, 2e-3], rounds: 2, epochs: 1, sweep: [log-ratio]}
          oreo: {method: oreo_token, lr: [1e-3, 2e-3], search: [own, sft], sweep: [sft], epochs: 1}
        """;

    [Fact]
    public void Runs_writes_and_resumes()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string home = folder.File("run");
        Study study = Study.Parse(Tiny);
        StudyResult result = new StudyJob(study, home).Run();

        StudyTaskResult task = Assert.Single(result.Tasks);
        Assert.Equal(["rejection", "oreo"], task.Tuning.Select(x => x.Method));
        Assert.All(task.Tuning, x => Assert.Equal(2, x.Trials.Length));
        Assert.Equal([3ul, 4], task.Seeds.Select(x => x.Seed));
        Assert.All(task.Seeds, x => Assert.Equal(2, x.Methods[0].Rounds.Length));
        Assert.All(task.Seeds, x => Assert.Equal(4, x.Methods[1].Searches.Length));
        foreach (StudySeedResult seed in task.Seeds)
        {
            StudySweepPoint[] points = seed.Methods[1].Sweeps;
            Assert.Equal(["vote 2", "vote 4", "best-of-n-min 2", "best-of-n-min 4", "beam 1", "beam 2"], points.Select(x => $"{x.Search} {x.Size}"));
            Assert.All(points, x => Assert.Equal(("sft", 8), (x.Policy, x.HeldOut.Count)));
            // Temperatures are chosen with the first seed, for all.
            Assert.Equal(seed.Seed == 3 ? 6 : 0, seed.Methods[1].SweepTrials.Length);
            foreach (StudySweepPoint point in points)
                Assert.Equal(task.Seeds[0].Methods[1].SweepTrials.Where(x => x.Search == point.Search).MaxBy(x => x.Accuracy)!.Temperature, point.Temperature, 1e-6);
            // What reads no scores draws the same whatever scores there are.
            Assert.Equal(["best-of-n-min 2", "best-of-n-min 4", "beam 1", "beam 2"], seed.Methods[0].Sweeps.Select(x => $"{x.Search} {x.Size}"));
            Assert.All(seed.Methods[0].Sweeps, x => Assert.Equal(("log-ratio", 8), (x.Policy, x.HeldOut.Count)));
            Assert.True(points[1].Tokens > points[0].Tokens && points[5].Tokens > points[4].Tokens);
        }
        Assert.NotEmpty(task.Pictures);
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(Path.Combine(home, "study.json")));
        Assert.Equal(12, json.RootElement.GetProperty("tasks")[0].GetProperty("seeds")[1].GetProperty("sft").GetProperty("count").GetInt32());
        string table = File.ReadAllText(Path.Combine(home, "table.md"));
        Assert.Contains("| rejection |", table);
        Assert.Contains("B = 2", table);
        Assert.Contains("| best-of-n-min | 4 |", table);
        Assert.Contains("explicit advantage", File.ReadAllText(Path.Combine(home, "report.html")));
        foreach (string plot in new[] { "accuracy", "rounds", "search", "sweep-oreo-sft", "sweep-rejection-log-ratio", "calibration" })
            Assert.StartsWith("<svg xmlns", File.ReadAllText(Path.Combine(home, "plots", $"short-{plot}.svg")), StringComparison.Ordinal);

        // Nothing is trained or answered again, and nothing changes.
        var stages = new List<string>();
        StudyResult again = new StudyJob(study, home, resume: true).Run(x => stages.Add(x.Stage));
        Assert.Empty(stages);
        Assert.Equal(table, StudyJob.Table(study, again));
        Assert.Equal(table, File.ReadAllText(Path.Combine(home, "table.md")));
    }

    [Fact]
    public void A_stopped_study_goes_on_to_the_same_result()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Study study = Study.Parse(Tiny, overrides: ["seeds=[3]", "methods.rejection.rounds=1", "methods.oreo.search=own", "methods.oreo.sweep=own"]);
        using var stop = new CancellationTokenSource();
        int stages = 0;
        string last = "";
        Assert.ThrowsAny<OperationCanceledException>(() => new StudyJob(study, folder.File("stopped")).Run(x =>
        {
            if (x.Stage != last) stages++;
            last = x.Stage;
            if (stages == 5) stop.Cancel();
        }, stop.Token));
        string whole = StudyJob.Table(study, new StudyJob(study, folder.File("whole")).Run());
        Assert.Equal(whole, StudyJob.Table(study, new StudyJob(study, folder.File("stopped"), resume: true).Run()));
    }

    [Fact]
    public void Folders_with_something_else_are_left_alone()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        string other = folder.File("other"), taken = folder.File("taken");
        Directory.CreateDirectory(other);
        File.WriteAllText(Path.Combine(other, "thesis.txt"), "years of work");
        Directory.CreateDirectory(taken);
        File.WriteAllText(Path.Combine(taken, "study.yaml"), Tiny.Replace("name: tiny", "name: huge"));
        Study study = Study.Parse(Tiny);
        Assert.Contains("no study", Assert.Throws<CheckpointException>(() => new StudyJob(study, other, resume: true)).Message);
        Assert.Contains("--resume", Assert.Throws<CheckpointException>(() => new StudyJob(study, taken)).Message);
        Assert.Contains("another study", Assert.Throws<CheckpointException>(() => new StudyJob(study, taken, resume: true)).Message);
    }

    [Fact]
    public void Steps_of_a_picture_have_both_advantages()
    {
        var picture = new StudyPicture(true, "correct", null,
        [
            new("p", true, false, null, null), new(":", true, false, 0.5, null), new("L", false, true, 0.6, 1), new("\n", false, false, 0.7, 2), new("#", false, true, 0.9, -1), new("<end>", false, false, null, -1),
        ]);
        IReadOnlyList<(int Start, int End, double Explicit, double Implicit)> steps = StudyReport.Steps(picture, 0.1);
        Assert.Equal([(2, 4), (4, 6)], steps.Select(x => (x.Start, x.End)));
        Assert.Equal(0.2, steps[0].Explicit, 9);
        Assert.Equal(0.3, steps[0].Implicit, 9);
        Assert.Equal(0.2, steps[1].Explicit, 9);
        Assert.Equal(-0.2, steps[1].Implicit, 9);
    }
}
