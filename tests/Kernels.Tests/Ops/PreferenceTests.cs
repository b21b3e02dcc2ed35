using Bellman.Kernels.Ops.Preference;
using Bellman.Tests;
using Xunit;
using static Bellman.Kernels.Tests.OpTest;

namespace Bellman.Kernels.Tests.Ops;

public sealed class PreferenceTests
{
    private static readonly PairLossOptions[] PairForms =
    [
        new() { Beta = 0.3 }, new() { Beta = 0.3, LabelSmoothing = 0.2 }, new() { Beta = 0.3, Form = PairLossForm.Ipo },
    ];

    private static readonly (KtoLossOptions Options, double Mismatched)[] KtoForms =
    [
        (new() { Beta = 0.3, DesirableWeight = 1, UndesirableWeight = 1.5 }, 0.7),
        (new() { Beta = 0.3, DesirableWeight = 1, UndesirableWeight = 1.5 }, -0.7),
        (new() { Beta = 0.3, DesirableWeight = 0.5, UndesirableWeight = 2, Form = KtoBaselineForm.OtherSide }, 0),
    ];

    private static Tensor Column(ReadOnlySpan<float> values) => Tensor(values, values.Length, 1);

    [Fact]
    public void Pairs_worked_by_hand()
    {
        // β = 1, x = (ln 3, −ln 3): σ = 3/4 and 1/4; −log σ averages to ln(4/√3); slopes −(1 − σ)/2.
        float ln3 = MathF.Log(3);
        Tensor d = Column(new float[4]);
        PairLossResult result = Results.PairLoss(Column([ln3, 0, 0, ln3]), new() { Beta = 1 }, d);
        TensorComparer.Close(Math.Log(4 / Math.Sqrt(3)), result.Loss, 0, 1e-6, "loss");
        TensorComparer.Close([-0.125f, 0.125f, -0.375f, 0.375f], d.ToArray<float>(), 0, 1e-6, "gradient");
        Assert.Equal((0.5, 2), (result.Accuracy, result.Pairs));
        TensorComparer.Close(ln3 / 2, result.ChosenReward, 0, 1e-6, "chosen");
        TensorComparer.Close(ln3 / 2, result.RejectedReward, 0, 1e-6, "rejected");
        // IPO at β = 0.5: the wanted margin is 1; x = 3 misses by 2: 4, slope 2·2. As one of two pairs: half of both.
        result = Results.PairLoss(Column([3f, 0f]), new() { Beta = 0.5, Form = PairLossForm.Ipo, TotalPairs = 2 }, d.Slice(0, 2));
        Assert.Equal(2, result.Loss);
        Assert.Equal([2f, -2f], d.Slice(0, 2).ToArray<float>());
    }

    [Fact]
    public void Kto_worked_by_hand()
    {
        // β = 1, baseline 0 (clamped): desirable at ln 3 loses 1/4, undesirable at ln 3 loses 3/4 twice over; slopes ∓σ(1 − σ)/2.
        float ln3 = MathF.Log(3);
        Tensor d = Column(new float[2]);
        KtoLossResult result = Results.KtoLoss(Column([ln3, ln3]), Column([1f, 0f]), new() { Beta = 1, DesirableWeight = 1, UndesirableWeight = 2 }, d, -5);
        TensorComparer.Close((0.25 + 1.5) / 2, result.Loss, 0, 1e-6, "loss");
        TensorComparer.Close([-0.09375f, 0.1875f], d.ToArray<float>(), 0, 1e-6, "gradient");
        Assert.Equal((0.0, 1, 1), (result.DesirableBaseline, result.Desirable, result.Undesirable));
        // Against the other side both margins are 0: 1/2 each, and every slope meets its opposite.
        result = Results.KtoLoss(Column([ln3, ln3]), Column([1f, 0f]), new() { Beta = 1, DesirableWeight = 1, UndesirableWeight = 1, Form = KtoBaselineForm.OtherSide }, d);
        TensorComparer.Close(0.5, result.Loss, 0, 1e-6, "loss");
        TensorComparer.Close([-0.25f, 0.25f], d.ToArray<float>(), 0, 1e-6, "gradient");
        // One side alone: its baseline is 0.
        result = Results.KtoLoss(Column([ln3]), Column([1f]), new() { Beta = 1, DesirableWeight = 1, UndesirableWeight = 1, Form = KtoBaselineForm.OtherSide }, d.Slice(0, 1));
        TensorComparer.Close(0.25, result.Loss, 0, 1e-6, "loss");
    }

    [Fact]
    public void Pairs_agree_with_the_reference_and_its_finite_differences()
    {
        foreach (PairLossOptions options in PairForms)
        {
            float[] r = Normal(4, 14, 4);
            Guarded d = new(14, 1, new float[14]);
            PairLossResult result = Results.PairLoss(Column(r), options, d.Tensor);
            double[] ratios = Doubles(r);
            TensorComparer.Close(PreferenceReference.PairLoss(ratios, options), result.Loss, 0, 1e-9, $"{options}");
            IsGradient(ratios, Doubles(d.Values), () => PreferenceReference.PairLoss(ratios, options), $"{options}", tolerance: 1e-6);
            d.Verify("gradient");
        }
    }

    [Fact]
    public void Kto_agrees_with_the_reference_and_its_finite_differences()
    {
        // Several seeds, so that the means of the sides lie above and below the clamp.
        foreach ((KtoLossOptions options, double mismatched) in KtoForms)
            foreach (int seed in (int[])[5, 6, 7])
            {
                float[] r = Normal(seed, 9, 4);
                bool[] side = [.. Integers(seed, 9, 2).Select(x => x == 1)];
                side[0] = !side[1];
                Guarded d = new(9, 1, new float[9]);
                KtoLossResult result = Results.KtoLoss(Column(r), Column([.. side.Select(x => x ? 1f : 0f)]), options, d.Tensor, mismatched);
                double[] ratios = Doubles(r);
                TensorComparer.Close(PreferenceReference.KtoLoss(ratios, side, options, mismatched), result.Loss, 0, 1e-9, $"{options}");
                IsGradient(ratios, Doubles(d.Values), () => PreferenceReference.KtoLoss(ratios, side, options, mismatched), $"{options}, seed {seed}", tolerance: 1e-6);
                d.Verify("gradient");
            }
    }

    [Fact]
    public void Parts_of_an_update_add_up_to_it()
    {
        float[] r = Normal(8, 12, 3), side = [1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0, 0];
        Tensor whole = Column(new float[12]), first = Column(new float[4]), second = Column(new float[8]);
        foreach (PairLossOptions options in PairForms)
        {
            double loss = Results.PairLoss(Column(r), options, whole).Loss;
            PairLossOptions part = options with { TotalPairs = 6 };
            TensorComparer.Close(loss, Results.PairLoss(Column(r.AsSpan(0, 4)), part, first).Loss + Results.PairLoss(Column(r.AsSpan(4)), part, second).Loss, 0, 1e-12, $"{options}");
            Assert.Equal(whole.ToArray<float>(), first.ToArray<float>().Concat(second.ToArray<float>()));
        }
        (KtoLossOptions kto, double mismatched) = KtoForms[0];
        double sum = Results.KtoLoss(Column(r), Column(side), kto, whole, mismatched).Loss;
        kto = kto with { TotalSequences = 12 };
        TensorComparer.Close(sum, Results.KtoLoss(Column(r.AsSpan(0, 4)), Column(side.AsSpan(0, 4)), kto, first, mismatched).Loss + Results.KtoLoss(Column(r.AsSpan(4)), Column(side.AsSpan(4)), kto, second, mismatched).Loss, 0, 1e-12, "kto");
        Assert.Equal(whole.ToArray<float>(), first.ToArray<float>().Concat(second.ToArray<float>()));
    }

    [Fact]
    public void Extremes_stay_finite_and_nan_shows()
    {
        Tensor d = Column(new float[2]);
        // A lost pair costs β·|x|, with slope β; a won one nothing.
        PairLossResult result = Results.PairLoss(Column([-1e30f, 0f]), new() { Beta = 0.1 }, d);
        TensorComparer.Close(1e29, result.Loss, 0, 1e-6, "lost");
        TensorComparer.Close([-0.1f, 0.1f], d.ToArray<float>(), 0, 1e-6, "lost");
        Assert.Equal(0, Results.PairLoss(Column([1e30f, 0f]), new() { Beta = 0.1 }, d).Loss);
        Assert.Equal([0f, 0f], d.ToArray<float>());
        foreach (PairLossOptions options in PairForms) Assert.True(double.IsNaN(Results.PairLoss(Column([float.NaN, 0f]), options, d).Loss));
        foreach ((KtoLossOptions options, double mismatched) in KtoForms)
        {
            KtoLossResult kto = Results.KtoLoss(Column([1e30f, -1e30f]), Column([1f, 0f]), options, d, mismatched);
            Assert.True(double.IsFinite(kto.Loss) && float.IsFinite(d.AsSpan<float>()[0]) && float.IsFinite(d.AsSpan<float>()[1]));
            Assert.True(double.IsNaN(Results.KtoLoss(Column([float.NaN, 0f]), Column([1f, 0f]), options, d, mismatched).Loss));
        }
        Assert.True(double.IsNaN(Results.KtoLoss(Column([0f, 0f]), Column([1f, 0f]), KtoForms[0].Options, d, double.NaN).Loss));
    }

    [Fact]
    public void Refuses_what_does_not_fit()
    {
        Tensor r = Column(new float[3]), d = Column(new float[3]);
        ShapeException error = Assert.Throws<ShapeException>(() => Results.PairLoss(r, new() { Beta = 0.1 }, d));
        Assert.StartsWith("Preference.PairLoss: expected an even number of rows (chosen, rejected, chosen …)", error.Message);
        Assert.Throws<BellmanException>(() => Results.PairLoss(Column(new float[2]), new() { Beta = 0 }, Column(new float[2])));
        Assert.Throws<BellmanException>(() => Results.PairLoss(Column(new float[2]), new() { Beta = 1, LabelSmoothing = 0.5 }, Column(new float[2])));
        Assert.Throws<BellmanException>(() => Results.KtoLoss(r, r, new() { Beta = 1, DesirableWeight = -1 }, d));
        Assert.Throws<ShapeException>(() => Results.KtoLoss(r, Column(new float[2]), new() { Beta = 1 }, d));
    }
}
