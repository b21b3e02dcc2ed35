using Bellman.Kernels;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Modules;

/// <summary>
/// Cosines and sines of the rotary embedding (Su et al., arXiv 2104.09864) for positions 0..P−1: angle(p, i) = p · f_i with
/// f_i = θ^(−2i/D), stretched as the model's configuration says. Grows when a longer sequence comes.
/// </summary>
internal sealed class RotaryTable(ModelConfig config, Device device)
{
    private readonly double[] _frequencies = Frequencies(config);

    /// <summary>cos [P, D/2].</summary>
    public Tensor Cos { get; private set; }

    /// <summary>sin [P, D/2].</summary>
    public Tensor Sin { get; private set; }

    /// <summary>Makes sure that positions below <paramref name="count"/> are there.</summary>
    public void Ensure(int count)
    {
        if (!Cos.IsEmpty && Cos.Rows >= count) return;
        int rows = (int)Math.Max(count, Math.Min(config.MaxPositions, 2L * Math.Max(256, Cos.IsEmpty ? 0 : Cos.Rows)));
        int half = _frequencies.Length;
        var cos = new float[(long)rows * half];
        var sin = new float[cos.Length];
        for (int p = 0; p < rows; p++)
            for (int i = 0; i < half; i++) (sin[p * half + i], cos[p * half + i]) = ((float, float))Math.SinCos(p * _frequencies[i]);
        // A recorded step that read the old tables must not run again.
        Cos.Free();
        Sin.Free();
        Cos = device.Create<float>(cos, rows, half);
        Sin = device.Create<float>(sin, rows, half);
    }

    private static double[] Frequencies(ModelConfig config)
    {
        var f = new double[config.HeadDimension / 2];
        for (int i = 0; i < f.Length; i++) f[i] = Math.Pow(config.RopeTheta, -2.0 * i / config.HeadDimension);
        if (config.RopeScaling is not { } scaling) return f;
        for (int i = 0; i < f.Length; i++) f[i] = scaling.Type == "linear" ? f[i] / scaling.Factor : Llama3(f[i], scaling);
        return f;
    }

    // Llama 3.1: long wavelengths are stretched by the factor, short ones kept, those between blended.
    private static double Llama3(double frequency, RopeScaling scaling)
    {
        double turns = scaling.OriginalMaxPositions * frequency / (2 * Math.PI);
        if (turns < scaling.LowFrequencyFactor) return frequency / scaling.Factor;
        if (turns > scaling.HighFrequencyFactor) return frequency;
        double smooth = (turns - scaling.LowFrequencyFactor) / (scaling.HighFrequencyFactor - scaling.LowFrequencyFactor);
        return (1 - smooth) * frequency / scaling.Factor + smooth * frequency;
    }
}
