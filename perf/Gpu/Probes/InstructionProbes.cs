using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Random;

namespace Bellman.Perf.Gpu.Probes;

/// <summary>A probe for every row of the instruction table.</summary>
internal static class InstructionProbes
{
    private const int Lanes = 32, Rounds = 16;

    private static readonly float[] Singles =
        [0f, -0f, 1f, -1f, 1.5f, float.PositiveInfinity, float.NegativeInfinity, float.NaN, float.Epsilon, -1e-40f, 1.17549435e-38f, float.MaxValue, 3.1415927f, 1e10f, -2.5e-5f, 16777217f];

    private static readonly int[] Integers = [0, 1, -1, 2, 31, 32, 33, int.MaxValue, int.MinValue, 0x55555555, 65536, -7, 1000003, 12, -100, 40];

    /// <summary>All probes; together they name every form.</summary>
    public static IReadOnlyList<InstructionProbe> All { get; } =
    [
        .. Bellman.Kernels.Cuda.Ptx.Forms.All.Where(x => x.Kind == FormKind.Lanewise).DistinctBy(x => (x.Spelling, x.Destinations[0], string.Join(',', x.Sources))).Select(Lanewise),
        .. MemoryProbes.All(), .. WarpProbes.All(), .. GroupProbes.All(),
    ];

    /// <summary>Stages a probe's kernel: thread i of the grid has its own words of input and output.</summary>
    public static InstructionProbe Make(string name, Form[] forms, Grid grid, int[] input, int wordsPerThread, ProbeWords words, Action<KernelBuilder, Pointer<S32>, Pointer<S32>, S32> stage, int threads = Lanes)
    {
        var k = new KernelBuilder($"probe_{new string([.. name.Select(c => char.IsAsciiLetterOrDigit(c) ? c : '_')])}", threads);
        Pointer<S32> source = k.ArgumentIntegers("source"), target = k.ArgumentIntegers("target");
        S32 thread = k.BlockX.MultiplyAdd(threads, k.Thread);
        stage(k, source, target.Offset(thread * wordsPerThread), thread);
        return new(name, forms, k.Build(), grid, input, checked((int)grid.Blocks) * threads * wordsPerThread, words);
    }

    /// <summary>Random words.</summary>
    public static int[] Noise(int seed, int count)
    {
        var random = new PhiloxRandom((ulong)seed);
        var words = new int[count];
        for (int i = 0; i < count; i++) words[i] = random.Next(1 << 16) << 16 | random.Next(1 << 16);
        return words;
    }

    /// <summary>Random bfloat16 pairs of moderate size.</summary>
    public static int[] Halves(int seed, int count)
    {
        var random = new PhiloxRandom((ulong)seed);
        var words = new int[count];
        for (int i = 0; i < count; i++) words[i] = ((BFloat16)(float)random.NextNormal()).Bits << 16 | ((BFloat16)(float)random.NextNormal()).Bits;
        return words;
    }

    // Three sources of two words each a thread, whatever the form takes.
    private static InstructionProbe Lanewise(Form form)
    {
        const int Words = 6;
        int threads = Lanes * Rounds;
        var input = new int[threads * Words];
        var random = new PhiloxRandom(5);
        for (int thread = 0; thread < threads; thread++)
            for (int s = 0; s < form.Sources.Length; s++)
            {
                ulong bits = Number(form, s, thread, random);
                (input[thread * Words + 2 * s], input[thread * Words + 2 * s + 1]) = ((int)bits, (int)(bits >> 32));
            }
        RegisterType type = form.Destinations[0];
        ProbeWords words = form == Bellman.Kernels.Cuda.Ptx.Forms.PackBf16 ? ProbeWords.Pairs
            : form.Spelling.Contains(".approx.", StringComparison.Ordinal) ? ProbeWords.Approximate
            : type == RegisterType.F32 ? ProbeWords.Single : type == RegisterType.F64 ? ProbeWords.Double : ProbeWords.Bits;
        Form[] alike = [.. Bellman.Kernels.Cuda.Ptx.Forms.All.Where(x => x.Spelling == form.Spelling && x.Kind == FormKind.Lanewise)];
        return Make($"{form.Spelling} {type} of {form.Sources[0]}", alike, new(Rounds), input, 2, words, (k, source, target, thread) =>
        {
            Pointer<S32> own = source.Offset(thread * Words);
            int[] sources = [.. form.Sources.Select((x, i) => Load(k, own.Offset(2 * i), x))];
            int register = k.NewRegister(type);
            k.Append(form, [register], sources, 0);
            var result = new Value(k, register, 0);
            switch (type)
            {
                case RegisterType.Pred: target[0] = Pred.From(result).Choose(k.Integer(1), 0); break;
                case RegisterType.B32: target[0] = S32.From(result); break;
                case RegisterType.F32: target[0] = F32.From(result).Bits(); break;
                case RegisterType.B64: new Pointer<S64>(target.Address)[0] = S64.From(result); break;
                default: new Pointer<F64>(target.Address)[0] = F64.From(result); break;
            }
        });
    }

    private static int Load(KernelBuilder k, Pointer<S32> at, RegisterType type) => type switch
    {
        RegisterType.Pred => at[0].IsNot(0).Value.Register,
        RegisterType.B32 => at[0].Value.Register,
        RegisterType.F32 => at[0].AsF32().Value.Register,
        RegisterType.B64 => new Pointer<S64>(at.Address)[0].Value.Register,
        _ => new Pointer<F64>(at.Address)[0].Value.Register,
    };

    private static ulong Number(Form form, int source, int thread, PhiloxRandom random)
    {
        // The first rounds meet every special number with every other; the rest is random.
        bool special = thread < 256;
        int place = source == 0 ? thread % 16 : source == 1 ? thread / 16 % 16 : thread * 7 % 16;
        switch (form.Sources[source])
        {
            case RegisterType.Pred: return (ulong)(thread >> source & 1);
            case RegisterType.F32: return BitConverter.SingleToUInt32Bits(special ? Singles[place] : (float)(random.NextNormal() * Math.Pow(2, random.Next(40) - 20)));
            case RegisterType.F64: return BitConverter.DoubleToUInt64Bits(special ? Singles[place] * 1.1 : random.NextNormal() * Math.Pow(2, random.Next(400) - 200));
            case RegisterType.B64: return special ? (ulong)((long)Integers[place] << (place * 3)) : (ulong)(uint)Noise(thread, 1)[0] << 20;
            default:
                int number = special ? Integers[place] : Noise(thread + 1000 * source, 1)[0];
                // A division by zero is not defined, and neither is that of the least number by -1.
                if (source == 1 && form.Spelling is "div.s32" or "rem.s32") return (uint)(number is 0 or -1 ? 3 : number);
                return (uint)number;
        }
    }
}
