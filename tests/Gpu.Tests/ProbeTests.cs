using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Perf.Gpu.Probes;
using Bellman.Perf.Gpu.Suite;
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
