using System.Diagnostics;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Perf;
using Bellman.Perf.Gpu.Cases;
using Bellman.Perf.Gpu.Suite;
using Xunit;

namespace Bellman.Gpu.Tests;

/// <summary>The suite itself: its cases, its child processes, its checks.</summary>
public sealed class SuiteTests
{
    private static readonly ModelShape Tiny = new("tiny", C: 16, H: 2, K: 1, D: 8, F: 24, V: 40, B: 2, L: 20);

    public static TheoryData<string> CaseNames => [.. OpCases.All.Select(x => x.Name)];

    [Theory]
    [MemberData(nameof(CaseNames))]
    public void A_case_gives_in_the_simulator_what_it_gives_on_the_cpu(string name)
    {
        OpCase one = OpCases.All.First(x => x.Name == name);
        new Worker(card: false, TextReader.Null, TextWriter.Null).Compare(one, Tiny);
        // Every kernel of the case has its work stated, so that none is left without a rate.
        foreach (var kernel in SuiteItems.Launched(one, Tiny))
            Assert.Contains(one.Work(new CaseRun(new SimulatorDevice(), Tiny)), x => kernel.Name.StartsWith(x.Kernel, StringComparison.Ordinal) && x.Bytes + x.Flops > 0);
    }

    [Fact]
    public void A_wrong_result_is_named()
    {
        var wrong = new OpCase("wrong", r =>
        {
            Tensor y = r.SingleOutput("y", 1, 4);
            return () => r.Device.Upload<float>([1, 2, r.Device == Device.Cpu ? 3 : float.NaN, 4], y);
        }, _ => []);
        Assert.Contains("y[2]: expected 3, received NaN", Assert.Throws<LedgerException>(() => new Worker(card: false, TextReader.Null, TextWriter.Null).Compare(wrong, Tiny)).Message);
    }

    [Fact]
    public void All_kernel_tests_are_in_the_suite()
    {
        Assert.True(KernelChecks.All.Count > 60, $"only {KernelChecks.All.Count}");
        Assert.Equal(KernelChecks.All.Count, KernelChecks.All.Select(x => x.Name).Distinct().Count());
        KernelChecks.All.First(x => x.Name.EndsWith("RmsNorm_NaN_spoils_its_own_row_and_no_other", StringComparison.Ordinal)).Run();
    }

    private static GpuSuite Suite(string script, TextWriter log, double seconds = 20) => new(log, () => new ProcessStartInfo("/bin/sh") { ArgumentList = { "-c", script } }, TimeSpan.FromSeconds(seconds));

    [Fact]
    public void A_child_that_hangs_or_dies_fails_its_item_and_the_rest_goes_on()
    {
        Assert.SkipUnless(File.Exists("/bin/sh"), "the stand-in for a child is a shell script");
        const string Script = """
            while read item; do
              echo "begin $item"
              case "$item" in hang) sleep 60;; die) echo gone >&2; exit 3;; bad) echo "fail it is wrong"; exit 1;; skip) echo "skip not here";; *) echo "pass $item";; esac
            done
            """;
        var log = new StringWriter();
        GpuSuite suite = Suite(Script, log, seconds: 1);
        suite.Run(["one", "hang", "two", "die", "bad", "skip", "three"]);
        Assert.Equal((3, 1), (suite.Passed, suite.Skipped));
        Assert.Equal(["hang", "die", "bad"], suite.Failures.Select(x => x.Item));
        Assert.Contains("nothing happened for 1 s", suite.Failures[0].Why);
        Assert.Contains("ended with 3: gone", suite.Failures[1].Why);
        Assert.Equal("it is wrong", suite.Failures[2].Why);
        Assert.Contains("FAILED bad: it is wrong", log.ToString());
    }

    [Fact]
    public void What_a_child_measured_goes_into_the_ledger()
    {
        Assert.SkipUnless(File.Exists("/bin/sh"), "the stand-in for a child is a shell script");
        const string Script = """
            read item; echo "begin $item"; echo 'record {"kernel":"k","shape":"s","ptx":"1","silicon":true,"microseconds":2}'; echo "record 7 40 0"; echo 'record {"kernel":"cublaslt","shape":"s","ptx":"v","silicon":true,"microseconds":3}'; echo "pass $item"
            """;
        GpuSuite suite = Suite(Script, TextWriter.Null);
        suite.Run(["case"]);
        LedgerRecord Old(string kernel, string ptx) => new() { Kernel = kernel, Shape = "s", Ptx = ptx };
        List<LedgerRecord> ledger = suite.Rewrite([Old("k", "1"), Old("m", "7")], []);
        Assert.Equal((true, 2.0), (ledger[0].Silicon, ledger[0].Microseconds));
        // The library's times stay in the ledger, though no kernel of that name is in the suite.
        Assert.Equal(("cublaslt", 3.0), (ledger[2].Kernel, ledger[2].Microseconds));
        Assert.Contains(ledger[2], Ledger.Renew([Old("k", "1")], ledger));
        Assert.Empty(Ledger.Stale([Old("k", "1"), Old("m", "7")], ledger));
        Assert.Equal((false, 40, 0), (ledger[1].Silicon, ledger[1].Registers, ledger[1].LocalBytes));
    }

    [Fact]
    public void What_a_card_answered_is_kept_though_it_was_wrong()
    {
        Assert.SkipUnless(File.Exists("/bin/sh"), "the stand-in for a child is a shell script");
        GpuSuite suite = Suite("""read item; echo "begin $item"; echo 'answer {"probe":"vote","ptx":"1","words":"w"}'; echo "fail it differs"; exit 1""", TextWriter.Null);
        suite.Run(["probe vote"]);
        Assert.Equal(("vote", "w"), (Assert.Single(suite.Answers).Probe, suite.Answers[0].Words));
        Assert.Single(suite.Failures);
    }

    [Fact]
    public void The_worker_runs_probes_and_checks_and_stops_at_a_failure()
    {
        var output = new StringWriter();
        Assert.False(new Worker(card: false, new StringReader("probe vote\nprobe nothing\nprobe vote\n"), output).Run());
        string[] lines = output.ToString().TrimEnd().Split('\n');
        Assert.Equal(["begin probe vote", "pass probe vote", "begin probe nothing"], lines[..3]);
        Assert.Equal(4, lines.Length);
        Assert.StartsWith("fail ", lines[3]);
    }
}
