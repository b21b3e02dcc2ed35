using System.Globalization;
using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Perf.Gpu.Probes;

/// <summary>How a word of a probe's output is compared.</summary>
public enum ProbeWords
{
    /// <summary>Bit by bit.</summary>
    Bits,

    /// <summary>Single precision: any NaN equals any other.</summary>
    Single,

    /// <summary>Single precision that the hardware approximates.</summary>
    Approximate,

    /// <summary>Double precision, two words a number: any NaN equals any other.</summary>
    Double,

    /// <summary>Two bfloat16 numbers: any NaN equals any other.</summary>
    Pairs,
}

/// <summary>
/// A tiny kernel around one or a few instruction forms, run by 32 threads a block. It reads words from its first argument and
/// writes words to its second; what a card writes must be what the simulator writes.
/// </summary>
/// <param name="Name">The form's spelling.</param>
/// <param name="Forms">The forms that it is about.</param>
/// <param name="Kernel">Arguments: input words, output words.</param>
/// <param name="Grid">Blocks.</param>
/// <param name="Input">Input words.</param>
/// <param name="OutputWords">Words that it writes.</param>
/// <param name="Words">How they are compared.</param>
internal sealed record InstructionProbe(string Name, Form[] Forms, Kernel Kernel, Grid Grid, int[] Input, int OutputWords, ProbeWords Words)
{
    /// <summary>Numbers that follow the two tensors in the launch.</summary>
    public KernelArgument[] Numbers { get; init; } = [];

    /// <summary>Rows of matrices of 64 bfloat16 columns, small integers, that follow as tensor maps.</summary>
    public int[] MatrixRows { get; init; } = [];

    /// <summary>Runs the probe on a device.</summary>
    public int[] Run(KernelDevice device)
    {
        Tensor input = device.Create<int>(Input, 1, Input.Length), output = device.Create<int>(new int[OutputWords], 1, OutputWords);
        Tensor[] matrices =
        [
            .. MatrixRows.Select((rows, i) => device.Create<BFloat16>(InstructionProbes.Noise(20 + i, rows * TensorBox.Columns).Select(x => (BFloat16)(float)(x % 5)).ToArray(), rows, TensorBox.Columns)),
        ];
        device.Launch(Kernel, Grid, [input, output, .. Numbers, .. matrices.Select(x => KernelArgument.Map(x, x.Rows, x.Columns))]);
        int[] words = output.ToArray<int>();
        input.Free();
        output.Free();
        return words;
    }

    /// <summary>Runs the probe on a device and in the simulator.</summary>
    /// <param name="device">The device.</param>
    /// <param name="answered">Called with what the device wrote, before it is compared.</param>
    /// <exception cref="Suite.LedgerException">They differ.</exception>
    public void Compare(KernelDevice device, Action<int[]>? answered = null)
    {
        if (Kernel.Target >= 90 && device is not (SimulatorDevice or { HasWarpGroups: true })) throw new Suite.CheckSkipped($"{device.Name} has no warp groups");
        int[] words = Run(device);
        answered?.Invoke(words);
        Agree(Run(new SimulatorDevice()), words);
    }

    /// <summary>Throws where outputs differ.</summary>
    public void Agree(int[] expected, int[] actual)
    {
        int step = Words == ProbeWords.Double ? 2 : 1, bad = 0, first = -1;
        for (int i = 0; i < expected.Length; i += step)
        {
            if (Same(expected, actual, i)) continue;
            if (bad++ == 0) first = i;
        }
        if (bad > 0)
            throw new Suite.LedgerException(string.Create(
                CultureInfo.InvariantCulture, $"{Name}: {bad} of {expected.Length / step} results differ from the simulator's; word {first}: expected 0x{expected[first]:X8}, received 0x{actual[first]:X8}."));
    }

    private bool Same(int[] expected, int[] actual, int i)
    {
        if (expected[i] == actual[i] && (Words != ProbeWords.Double || expected[i + 1] == actual[i + 1])) return true;
        switch (Words)
        {
            case ProbeWords.Single: return float.IsNaN(BitConverter.Int32BitsToSingle(expected[i])) && float.IsNaN(BitConverter.Int32BitsToSingle(actual[i]));
            case ProbeWords.Double: return double.IsNaN(Double(expected, i)) && double.IsNaN(Double(actual, i));
            case ProbeWords.Pairs: return SameHalf(expected[i], actual[i]) && SameHalf(expected[i] >> 16, actual[i] >> 16);
            case ProbeWords.Approximate:
                float e = BitConverter.Int32BitsToSingle(expected[i]), a = BitConverter.Int32BitsToSingle(actual[i]);
                return float.IsNaN(e) ? float.IsNaN(a) : Math.Abs(a - e) <= 4e-6f * Math.Abs(e) + 1e-6f * MathF.Min(1, MathF.Abs(e) + 1e-30f);
            default: return false;
        }
    }

    private static bool SameHalf(int expected, int actual)
    {
        float e = (float)BFloat16.FromBits((ushort)expected), a = (float)BFloat16.FromBits((ushort)actual);
        return (ushort)expected == (ushort)actual || (float.IsNaN(e) && float.IsNaN(a));
    }

    private static double Double(int[] words, int i) => BitConverter.Int64BitsToDouble((long)words[i + 1] << 32 | (uint)words[i]);
}
