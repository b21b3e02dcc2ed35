using Bellman.Kernels;
using Bellman.Perf.Compare;
using Bellman.Tests;
using Xunit;

namespace Bellman.Perf.Tests.Compare;

public sealed class CompareResultsTests
{
    [Fact]
    public void A_file_gives_back_what_was_saved()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        CompareResults results = CompareReportTests.Results;
        string path = folder.File("deep/er/results.json");
        results.Save(path);
        CompareResults again = CompareResults.Load(path);
        Assert.Equal(CompareReport.Write(results), CompareReport.Write(again));
        Assert.Equal(results.Entries.SelectMany(x => x.Ours), again.Entries.SelectMany(x => x.Ours));
        Assert.Equal(results.Entries.SelectMany(x => x.Peer), again.Entries.SelectMany(x => x.Peer));
        Assert.Equal(results.Entries.Select(x => (x.Key, x.Command, x.PeerCommand, x.Date, x.Revision)), again.Entries.Select(x => (x.Key, x.Command, x.PeerCommand, x.Date, x.Revision)));
    }

    [Fact]
    public void A_case_measured_again_replaces_its_older_self_and_no_other()
    {
        CompareResults results = CompareReportTests.Results;
        CompareEntry old = results.Find("step/S1/sft")!, newer = old with { Ours = [new Sample(1, 2)] };
        CompareResults after = results.With(newer);
        Assert.Equal(results.Entries.Count, after.Entries.Count);
        Assert.Same(newer, after.Find("step/S1/sft"));
        Assert.Same(results.Find("step/S1/oreo"), after.Find("step/S1/oreo"));
        Assert.Equal([1, 2], after.With(new MachinePeaks("2026-01-02", 2, 9, [1])).Peaks.Select(x => x.Threads));
    }

    [Fact]
    public void Without_a_file_there_are_no_results()
    {
        using TemporaryFolder folder = TestData.NewFolder();
        Assert.Empty(CompareResults.Load(folder.File("none.json")).Entries);
    }

    [Theory]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("""{"entrys":[]}""")]
    [InlineData("""{"entries":[{"key":"a"}]}""")]
    public void A_file_of_something_else_is_refused_by_name(string text)
    {
        using TemporaryFolder folder = TestData.NewFolder();
        File.WriteAllText(folder.File("odd.json"), text);
        BellmanException error = Assert.Throws<BellmanException>(() => CompareResults.Load(folder.File("odd.json")));
        Assert.Contains("odd.json: expected results of the command compare", error.Message, StringComparison.Ordinal);
    }
}
