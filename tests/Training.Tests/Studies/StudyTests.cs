using Bellman.Tests;
using Bellman.Training.Experiments;
using Bellman.Training.Recipes;
using Bellman.Training.Studies;
using Xunit;

namespace Bellman.Training.Tests.Studies;

/// <summary>Reading study files.</summary>
public sealed class StudyTests
{
    private const string Good = "tasks: {board: {walls: 3}, other: {family: maze}}\nmethods:\n  a: {method: oreo_step, lr: [1e-4, 2e-4], epochs: [1, 2]}\n";

    [Fact]
    public void Grids_are_products_and_the_rest_has_defaults()
    {
        Study study = Study.Parse(Good);
        Assert.Equal(["board", "maze"], study.Tasks.Select(x => x.Family));
        Assert.Equal(3, study.Tasks[0].Knobs["walls"]);
        Assert.Equal([(1e-4, 1), (1e-4, 2), (2e-4, 1), (2e-4, 2)], study.Methods[0].Grid.Select(x => (x.PolicyRate, x.Epochs)));
        Assert.All(study.Methods[0].Grid, x => Assert.Equal(ExperimentMethod.OreoStep, x.Method));
        Assert.Equal([0ul, 1, 2], study.Seeds);
        Assert.Equal([1, 3, 5, 7], study.Widths);
        Assert.Equal([5ul], Study.Parse(Good, overrides: ["seeds=[5]"]).Seeds);
    }

    [Fact]
    public void A_task_without_knobs_is_a_task()
    {
        Assert.Equal("board", Study.Parse("tasks: {board: {}}\nmethods: {r: {method: rejection, lr: 1e-3}}").Tasks.Single().Family);
    }

    [Theory]
    [InlineData("full")]
    [InlineData("quick")]
    public void Studies_that_come_with_the_program_are_right(string name) => Assert.Equal(name, Study.BuiltIn(name).Name);

    [Fact]
    public void The_table_in_the_documentation_is_the_programs_table()
    {
        string documentation = File.ReadAllText(Path.Combine(TestData.Repository, "docs", "study.md")).ReplaceLineEndings("\n"), table = StudyKeys.Table.Markdown();
        if (Environment.GetEnvironmentVariable("BELLMAN_WRITE_HELP") == "1")
            File.WriteAllText(Path.Combine(TestData.Repository, "docs", "study.md"), documentation = documentation[..(documentation.IndexOf("-->", StringComparison.Ordinal) + 5)] + table);
        Assert.True(documentation.EndsWith("\n" + table, StringComparison.Ordinal), $"docs/study.md must end with this table:\n{table}");
    }

    [Fact]
    public void Dpo_and_kto_have_their_own_strength()
    {
        Study study = Study.Parse("tasks: {board: {}}\nmethods: {d: {method: dpo, lr: 1e-5}, o: {method: oreo_token, lr: 1e-4}, k: {method: kto, lr: 1e-5, beta: 0.5}}");
        Assert.Equal([0.1, 0.03, 0.5], study.Methods.Select(x => x.Grid[0].Beta));
    }

    [Fact]
    public void There_is_a_word_for_every_method() => Assert.Equal(Enum.GetNames<ExperimentMethod>().Select(x => x.ToLowerInvariant()), StudyKeys.Methods.Select(x => x.Replace("_", "", StringComparison.Ordinal)));

    [Theory]
    [InlineData("methods.a.lr=[]", "above 0")]
    [InlineData("methods.a.method=oreo_stp", "did you mean 'oreo_step'")]
    [InlineData("search.widths=[0]", "at least 1")]
    [InlineData("search.widths=[2, 2]", "different widths")]
    [InlineData("seeds=[1, 1]", "different seeds")]
    [InlineData("seeds=[]", "integer")]
    [InlineData("compare_to=b", "compare_to")]
    [InlineData("methods.a.lrr=1", "did you mean 'methods.a.lr'")]
    [InlineData("tasks.board.wals=3", "walls")]
    [InlineData("tasks.board.family=chess", "chess")]
    [InlineData("methods.a.search=both", "own or sft")]
    [InlineData("model.hidden=63", "model.heads")]
    [InlineData("sweep.bean=[1]", "did you mean 'beam'")]
    [InlineData("sweep.beam=[0]", "at least 1")]
    [InlineData("sweep.beam=[2, 2]", "different sizes")]
    [InlineData("sweep.held_out=1000000", "must not be above")]
    [InlineData("methods.a.sweep=sft", "the study names no search")]
    [InlineData("methods.a.sweep=both", "expected own, sft, log-ratio")]
    public void Wrong_values_are_refused_with_a_remedy(string assignment, string expected)
    {
        RecipeException error = Assert.Throws<RecipeException>(() => Study.Parse(Good, overrides: [assignment]));
        Assert.Contains(expected, error.Message);
    }

    [Theory]
    [InlineData("methods: {r: {method: rejection, lr: 1e-3}}", "at least one task")]
    [InlineData("tasks: {board: {}}", "at least one method")]
    [InlineData("tasks: {board: {}}\nmethods: {r: {lr: 1e-3}}", "'methods.r.method' is missing")]
    [InlineData("tasks: {board: {}}\nmethods: {sft: {method: rejection, lr: 1e-3}}", "choose another")]
    [InlineData("tasks: {board: {}}\nmethods: {r: {method: rejection, lr: 1e-3, search: own}}", "no value model")]
    [InlineData("tasks: {board: {}}\nsweep: {beam: 2}\nmethods: {r: {method: rejection, lr: 1e-3, sweep: [log-ratio, own]}}", "only log-ratio needs none")]
    [InlineData("tasks: {board: {}}\nmethods: {r: {method: rejection, lr: 1e-3}, o: {method: oreo_token, lr: [1e-3, 2e-3]}}", "equal_grids")]
    public void Studies_that_cannot_be_run_are_refused(string yaml, string expected) =>
        Assert.Contains(expected, Assert.Throws<RecipeException>(() => Study.Parse(yaml)).Message);
}
