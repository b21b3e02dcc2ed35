using System.Text.RegularExpressions;
using Bellman.Kernels.Tests.Cuda;
using Bellman.Perf.Gpu.Suite;
using Bellman.Tests;
using Xunit;

namespace Bellman.Gpu.Tests;

/// <summary>The committed ledger describes the kernels of this commit; what silicon has not seen is told, not refused.</summary>
public sealed partial class LedgerTests
{
    private static readonly List<LedgerRecord> Current = SuiteItems.Current();

    private static LedgerRecord Record(string kernel = "k", string ptx = "1", string shape = "s") => new() { Kernel = kernel, Shape = shape, Ptx = ptx, SharedBytes = 4 };

    [Fact]
    public void The_ledger_is_of_this_commit_and_tells_what_silicon_has_not_seen()
    {
        List<LedgerRecord> ledger = Ledger.Read(Path.Combine(TestData.Repository, "perf", Ledger.FileName));
        List<string> stale = Ledger.Stale(Current, ledger);
        Assert.True(
            stale.Count == 0, $"perf/{Ledger.FileName} is stale ({stale.Count} differences); renew it with: dotnet run --project perf/Gpu -c Release -- --lock\n{string.Join('\n', stale.Take(10))}");
        string[] changed = [.. ledger.Where(x => !x.Silicon && x.Date is not null).Select(x => x.Kernel).Distinct()];
        int never = ledger.Where(x => !x.Silicon && x.Date is null).Select(x => x.Kernel).Distinct().Count(), all = ledger.Select(x => x.Kernel).Distinct().Count();
        string message = $"kernels: {all}; never run on silicon: {never}; changed since they last ran on silicon: {(changed.Length == 0 ? "none" : string.Join(", ", changed))}";
        Console.WriteLine(message);
        TestContext.Current.AddWarning(message);
    }

    [Fact]
    public void Every_kernel_that_the_ops_have_is_in_the_suite()
    {
        // The shape in a name is its numbers.
        static string Family(string kernel) => Digits().Replace(kernel, "");
        HashSet<string> suite = [.. Current.Select(x => Family(x.Kernel))];
        string[] missing = [.. KernelList.OfCards().Keys.Where(x => !suite.Contains(Family(x)))];
        Assert.True(missing.Length == 0, $"no case of perf/Gpu/Cases launches {string.Join(", ", missing)}; add one");
    }

    [Fact]
    public void A_changed_text_loses_silicon_and_keeps_its_last_run()
    {
        LedgerRecord run = Record("a") with { Silicon = true, Microseconds = 3, Driver = "12.4", Card = "c", Date = "2026-01-01" };
        List<LedgerRecord> renewed = Ledger.Renew([Record("a"), Record("b")], [run, Record("gone")]);
        Assert.Equal([run, Record("b")], renewed);
        LedgerRecord changed = Assert.Single(Ledger.Renew([Record("a", "2")], [run]));
        Assert.Equal((false, null, "2026-01-01", "c"), (changed.Silicon, changed.Microseconds, changed.Date, changed.Card));
    }

    [Fact]
    public void A_stale_ledger_is_described()
    {
        Assert.Empty(Ledger.Stale([Record()], [Record()]));
        Assert.Equal(
            ["k (s) has changed from 1 to 2", "new (s) is not in the ledger", "old (s) is in the ledger and no longer in the suite"],
            Ledger.Stale([Record("k", "2"), Record("new")], [Record(), Record("old")]));
    }

    [Fact]
    public void A_ledger_is_read_as_it_was_written()
    {
        string path = Path.Combine(Path.GetTempPath(), $"bellman-{Guid.NewGuid():N}.lock");
        LedgerRecord[] records = [Record("a"), Record("b") with { Silicon = true, Tflops = 1.5, ShareOfPeak = 0.25, Registers = 40, LocalBytes = 0, Driver = "12.4", Card = "x", Date = "2026-01-01" }];
        Ledger.Write(path, records.Reverse());
        Assert.Equal(records, Ledger.Read(path));
        Assert.Contains("\"share_of_peak\":0.25", File.ReadAllText(path));
        File.WriteAllText(path, "{");
        Assert.Contains("expected a JSON array", Assert.Throws<LedgerException>(() => Ledger.Read(path)).Message);
        File.Delete(path);
    }

    [GeneratedRegex(@"\d")]
    private static partial Regex Digits();
}
