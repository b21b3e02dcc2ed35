using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Perf.Gpu.Probes;
using Bellman.Perf.Gpu.Suite;
using Bellman.Tests;
using Xunit;

namespace Bellman.Gpu.Tests;

/// <summary>The instruction probes: they cover the table, run clean in the checked simulator, and find a wrong result.</summary>
public sealed class ProbeTests
{
    [Fact]
    public void Every_row_of_the_instruction_table_has_a_probe()
    {
        HashSet<Form> probed = [.. InstructionProbes.All.SelectMany(x => x.Forms)];
        Form[] missing = [.. Forms.All.Where(x => !probed.Contains(x))];
        Assert.True(missing.Length == 0, $"no probe for {string.Join(", ", missing.Select(x => x.Spelling))}");
        // A probe that says so must also contain it.
        foreach (InstructionProbe probe in InstructionProbes.All)
            foreach (string spelling in probe.Forms.Select(x => x.Spelling)) Assert.Contains(probe.Kernel.Instructions, x => x.Form.Spelling == spelling);
        Assert.Equal(InstructionProbes.All.Count, InstructionProbes.All.Select(x => x.Name).Distinct().Count());
    }

    [Fact]
    public void Every_probe_runs_clean_and_a_wrong_bit_is_found()
    {
        foreach (InstructionProbe probe in InstructionProbes.All)
        {
            int[] expected = probe.Run(new SimulatorDevice());
            Assert.Contains(expected, x => x != 0);
            probe.Agree(expected, [.. expected]);
            int place = Array.FindIndex(expected, x => x is > 0x3F000000 and < 0x40000000);
            if (place < 0 || probe.Words == ProbeWords.Double) place = Array.FindIndex(expected, x => x != 0);
            int[] wrong = [.. expected];
            wrong[place] ^= 1 << 20;
            if (probe.Words is ProbeWords.Bits) Assert.Contains(probe.Name, Assert.Throws<LedgerException>(() => probe.Agree(expected, wrong)).Message);
        }
    }

    /// <summary>No card's answers are there until the suite has run on one.</summary>
    [Fact]
    public void The_simulator_answers_as_cards_have()
    {
        List<ProbeRecord> answers = ProbeLedger.Read(Path.Combine(TestData.Repository, "perf", ProbeLedger.FileName));
        int held = 0;
        foreach (ProbeRecord answer in answers)
        {
            // Of a probe that has changed since, or is gone, nothing can be said.
            if (InstructionProbes.All.FirstOrDefault(x => x.Name == answer.Probe && x.Kernel.PtxHash == answer.Ptx) is not { } probe) continue;
            probe.Agree(probe.Run(new SimulatorDevice()), answer.Unpack());
            held++;
        }
        TestContext.Current.AddWarning($"probes: {InstructionProbes.All.Count}; answered by a card as they are now: {held}");
    }

    [Fact]
    public void Answers_are_kept_whole_and_newer_ones_replace_older_ones()
    {
        string path = Path.Combine(Path.GetTempPath(), $"bellman-{Guid.NewGuid():N}.lock");
        int[] words = [1, -2, int.MinValue, .. Enumerable.Repeat(7, 5000)];
        ProbeRecord Answer(string probe, int[] said) => new() { Probe = probe, Ptx = "1", Words = ProbeRecord.Pack(said), Card = "c", Driver = "12.4", Date = "2026-01-01" };
        ProbeLedger.Write(path, [], [Answer("b", [3]), Answer("a", [4])]);
        ProbeLedger.Write(path, ProbeLedger.Read(path), [Answer("b", words)]);
        List<ProbeRecord> read = ProbeLedger.Read(path);
        Assert.Equal(["a", "b"], read.Select(x => x.Probe));
        Assert.Equal(words, read[1].Unpack());
        Assert.Equal(Answer("a", [4]), read[0]);
        Assert.Contains("the probe 'x' cannot be read", Assert.Throws<LedgerException>(() => new ProbeRecord { Probe = "x", Ptx = "1", Words = "AAAA" }.Unpack()).Message);
        File.WriteAllText(path, "{");
        Assert.Contains("expected a JSON array", Assert.Throws<LedgerException>(() => ProbeLedger.Read(path)).Message);
        File.Delete(path);
    }

    [Theory]
    [InlineData(ProbeWords.Bits, 0x7FC00000, 0x7FFFFFFF, false)]
    [InlineData(ProbeWords.Single, 0x7FC00000, 0x7FFFFFFF, true)]
    [InlineData(ProbeWords.Single, 0x3F800000, 0x3F800001, false)]
    [InlineData(ProbeWords.Approximate, 0x3F800000, 0x3F800002, true)]
    [InlineData(ProbeWords.Approximate, 0x3F800000, 0x3F800100, false)]
    [InlineData(ProbeWords.Approximate, 0x3F800000, 0x7FC00000, false)]
    [InlineData(ProbeWords.Pairs, 0x7FC03F80, 0x7FFF3F80, true)]
    [InlineData(ProbeWords.Pairs, 0x7FC03F80, 0x7FFF3F81, false)]
    public void Words_are_compared_by_what_they_hold(ProbeWords words, int expected, int actual, bool same)
    {
        InstructionProbe probe = InstructionProbes.All[0] with { Words = words };
        if (same) probe.Agree([expected], [actual]);
        else Assert.Throws<LedgerException>(() => probe.Agree([expected], [actual]));
    }
}
