using Bellman.Kernels.Cuda.Simulator;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Kernels.Ops.KlPenalty;
using Bellman.Kernels.Ops.Preference;
using Bellman.Kernels.Ops.Sample;
using Bellman.Kernels.Ops.SoftBellman;

namespace Bellman.Kernels.Tests;

/// <summary>Ops whose results stay on the device, called and read at once.</summary>
internal static class Results
{
    public static SoftBellmanResult ValueLoss(in SoftBellmanBatch batch, in SoftBellmanOptions options, Tensor dValues, Tensor dLogProbs = default)
    {
        Tensor result = New(batch.LogProbs.Device, SoftBellmanResult.Numbers);
        SoftBellman.ValueLoss(batch, options, result, dValues, dLogProbs);
        return SoftBellmanResult.Read(result);
    }

    public static SoftBellmanResult PolicyLoss(in SoftBellmanBatch batch, in SoftBellmanOptions options, Tensor dLogProbs, Tensor dValues = default)
    {
        Tensor result = New(batch.LogProbs.Device, SoftBellmanResult.Numbers);
        SoftBellman.PolicyLoss(batch, options, result, dLogProbs, dValues);
        return SoftBellmanResult.Read(result);
    }

    public static double KlMean(Tensor kl, Tensor actionMask, Tensor sequenceStarts, double coefficient, int totalSequences, Tensor dKl)
    {
        Tensor mean = New(kl.Device, 1);
        KlPenalty.Mean(kl, actionMask, sequenceStarts, Number(kl.Device, coefficient), totalSequences, mean, dKl);
        return mean.ToArray<double>()[0];
    }

    public static double KlSampled(
        Tensor logProbs, Tensor referenceLogProbs, Tensor actionMask, Tensor sequenceStarts, double coefficient, int totalSequences, Tensor dLogProbs)
    {
        Tensor mean = New(logProbs.Device, 1);
        KlPenalty.Sampled(logProbs, referenceLogProbs, actionMask, sequenceStarts, Number(logProbs.Device, coefficient), totalSequences, mean, dLogProbs);
        return mean.ToArray<double>()[0];
    }

    public static PairLossResult PairLoss(Tensor logRatios, in PairLossOptions options, Tensor dLogRatios)
    {
        Tensor result = New(logRatios.Device, PairLossResult.Numbers);
        Preference.PairLoss(logRatios, options, result, dLogRatios);
        return PairLossResult.Read(result);
    }

    public static KtoLossResult KtoLoss(Tensor logRatios, Tensor desirable, in KtoLossOptions options, Tensor dLogRatios, double mismatched = 0)
    {
        Tensor result = New(logRatios.Device, KtoLossResult.Numbers);
        Preference.KtoLoss(logRatios, desirable, options, result, dLogRatios, options.Form == KtoBaselineForm.Mismatched ? Number(logRatios.Device, mismatched) : default);
        return KtoLossResult.Read(result);
    }

    public static double Norm(params Tensor[] gradients)
    {
        using var list = new GradientTensors(gradients);
        Tensor norm = New(gradients.Length == 0 ? Device.Cpu : gradients[0].Device, 1);
        GradientNorm.Norm(list, norm);
        return norm.ToArray<double>()[0];
    }

    /// <summary>A step whose gradients are scaled by a factor of at most 1.</summary>
    public static void AdamWStep(AdamWTensor[] tensors, AdamWSettings settings, int step, float scale)
    {
        using var list = new AdamWTensors(tensors);
        Device device = tensors[0].Parameter.Device;
        AdamW.Step(list, Numbers(device, settings with { ClipNorm = scale * (1 + 1e-6) }, step), device.Create<double>([1.0], 1, 1));
    }

    /// <summary>What <see cref="AdamW.Step"/> reads.</summary>
    public static Tensor Numbers(Device device, AdamWSettings settings, int step)
    {
        var numbers = new double[AdamWSettings.Numbers];
        settings.Write(step, numbers);
        return device.Create<double>(numbers, 1, numbers.Length);
    }

    /// <summary>Samples from row i for setting i, or from the rows that <paramref name="sources"/> names; throws where one cannot be sampled from.</summary>
    public static (int[] Ids, float[] LogProbs) Sample(Tensor logits, SampleRow[] rows, int[]? sources = null)
    {
        Device device = logits.Device;
        Tensor ids = device.Create(DType.I32, rows.Length, 1), logProbs = device.Create(DType.F32, rows.Length, 1);
        if (device is SimulatorDevice simulator)
        {
            simulator.Poison(ids);
            simulator.Poison(logProbs);
        }
        Kernels.Ops.Sample.Sample.Next(logits, Settings(device, rows, sources), ids, logProbs);
        int[] chosen = ids.ToArray<int>();
        int bad = Array.IndexOf(chosen, Kernels.Ops.Sample.Sample.Unusable);
        if (bad >= 0) throw new BellmanException($"row {bad} cannot be sampled from");
        return (chosen, logProbs.ToArray<float>());
    }

    /// <summary>What <see cref="Kernels.Ops.Sample.Sample.Next"/> reads.</summary>
    public static Tensor Settings(Device device, SampleRow[] rows, int[]? sources = null)
    {
        var words = new int[rows.Length * SampleRow.Words];
        for (int i = 0; i < rows.Length; i++) rows[i].Write(sources is null ? i : sources[i], words.AsSpan(i * SampleRow.Words, SampleRow.Words));
        return device.Create<int>(words, rows.Length, SampleRow.Words);
    }

    private static Tensor Number(Device device, double value) => device.Create<double>([value], 1, 1);

    private static Tensor New(Device device, int numbers)
    {
        Tensor result = device.Create(DType.F64, 1, numbers);
        if (device is SimulatorDevice simulator) simulator.Poison(result);
        return result;
    }
}
