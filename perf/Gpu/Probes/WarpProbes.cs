using Bellman.Kernels.Cuda.Ptx;
using Bellman.Kernels.Cuda.Staging;

namespace Bellman.Perf.Gpu.Probes;

/// <summary>Probes of what a warp does together, and of control flow.</summary>
internal static class WarpProbes
{
    private const int Lanes = 32;

    public static IEnumerable<InstructionProbe> All() =>
    [
        InstructionProbes.Make(
            "shfl", [Forms.ShuffleXorF32, Forms.ShuffleXorB32, Forms.ShuffleUpF32, Forms.ShuffleDownF32, Forms.ShuffleLaneF32, Forms.ShuffleLaneB32, Forms.ShuffleUpB32, Forms.ShuffleDownB32],
            new(1), InstructionProbes.Noise(4, Lanes), 8, ProbeWords.Bits,
            (k, source, target, thread) =>
            {
                S32 word = source[thread];
                F32 number = word.AsF32();
                S32[] results =
                [
                    k.ShuffleXor(number, 5).Bits(), k.ShuffleXor(word, 16), k.ShuffleUp(number, 3).Bits(), k.ShuffleDown(number, 7).Bits(), k.ShuffleFrom(number, 9).Bits(),
                    k.ShuffleFrom(word, 31), Raw(k, Forms.ShuffleUpB32, word, 30), Raw(k, Forms.ShuffleDownB32, word, 1),
                ];
                for (int i = 0; i < results.Length; i++) target[i] = results[i];
            }),
        InstructionProbes.Make("vote", [Forms.VoteAny, Forms.VoteAll, Forms.Ballot], new(1), InstructionProbes.Noise(5, Lanes), 5, ProbeWords.Bits, (k, source, target, thread) =>
        {
            Pred positive = source[thread] > 0, always = thread >= 0;
            target[0] = k.Any(positive).Choose(k.Integer(1), 0);
            target[1] = k.Every(positive).Choose(k.Integer(1), 0);
            target[2] = k.Every(always).Choose(k.Integer(1), 0);
            target[3] = k.Any(!always).Choose(k.Integer(1), 0);
            target[4] = k.Ballot(positive);
        }),
        .. ((bool[])[false, true]).Select(transposed => InstructionProbes.Make(
            transposed ? "ldmatrix.trans" : "ldmatrix", [transposed ? Forms.LoadMatrixTransposed : Forms.LoadMatrix], new(1), InstructionProbes.Noise(6, Lanes * 4), 4, ProbeWords.Bits,
            (k, source, target, thread) =>
            {
                Shared<S32> matrices = k.Shared<S32>(Lanes * 4);
                for (int i = 0; i < 4; i++) matrices[thread * 4 + i] = source[thread * 4 + i];
                k.Barrier();
                // Rows in a crooked order: lane l takes row (5 l mod 32).
                Packed[] loaded = k.LoadMatrices(k.SharedAddress(0) + ((thread * 5 & 31) << 4), transposed);
                for (int i = 0; i < 4; i++) target[i] = S32.From(loaded[i].Value);
            })),
        // Small integers: every sum is exact in whatever order it is taken.
        InstructionProbes.Make("mma", [Forms.MultiplyBf16], new(1), SmallPairs(Lanes * 6), 4, ProbeWords.Bits, (k, source, target, thread) =>
        {
            Packed[] parts = [.. Enumerable.Range(0, 6).Select(i => Packed.From(source[thread * 6 + i].Value))];
            var sum = new Accumulator(k);
            for (int i = 0; i < 4; i++) sum[i] = thread.ToF32() + i;
            k.MultiplyAccumulate(sum, parts[..4], parts[4], parts[5]);
            for (int i = 0; i < 4; i++) target[i] = sum[i].Bits();
        }),
        InstructionProbes.Make(
            "branches and loops", [Forms.If, Forms.Else, Forms.EndIf, Forms.Loop, Forms.Break, Forms.EndLoop], new(1), InstructionProbes.Noise(8, Lanes), 2, ProbeWords.Bits,
            (k, source, target, thread) =>
            {
                Variable<S32> value = k.Variable(source[thread]), rounds = k.Variable<S32>(0);
                k.While(() => rounds.Value < (thread & 7), () =>
                {
                    k.If((value.Value & 1).Is(0), () => value.Value = value.Value >>> 1, () => k.If(value.Value > 0, () => value.Value = value.Value * 3 + 1, () => value.Value = value.Value ^ 0x1234));
                    rounds.Value += 1;
                });
                k.For(thread & 3, i => value.Value += i);
                target[0] = value;
                target[1] = rounds;
            }),
    ];

    private static S32 Raw(KernelBuilder k, Form form, S32 value, int immediate)
    {
        int register = k.NewRegister(RegisterType.B32);
        k.Append(form, [register], [value.Value.Register], immediate);
        return S32.From(new(k, register, 0));
    }

    private static int[] SmallPairs(int count) => [.. InstructionProbes.Noise(7, count).Select(x => ((BFloat16)(float)(x % 8)).Bits << 16 | ((BFloat16)(float)(x / 8 % 8)).Bits)];
}
