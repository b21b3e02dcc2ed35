using System.Globalization;
using Bellman.Kernels;
using Bellman.Kernels.Ops.AdamW;
using Bellman.Kernels.Ops.GradientNorm;
using Bellman.Runtime.Checkpoints;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;

namespace Bellman.Training.Optimizers;

/// <summary>Constants of <see cref="AdamWOptimizer"/>; the learning rate comes with each step.</summary>
public sealed record AdamWOptions
{
    /// <summary>β₁, decay of the first moment.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>β₂, decay of the second moment; 0.95 in the paper.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>ε, added outside the square root.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>λ, decoupled; matrices only.</summary>
    public double WeightDecay { get; init; }

    /// <summary>Largest norm over all gradients; larger ones are scaled down to it. 0 for no limit.</summary>
    public double ClipNorm { get; init; } = 1;
}

/// <summary>AdamW over all parameters of one model, with clipping by global norm. Its state can be saved and resumed bit for bit.</summary>
public sealed class AdamWOptimizer : IDisposable
{
    private const string StepKey = "step";

    private readonly DecoderModel _model;
    private readonly AdamWOptions _options;
    private readonly Arena _numbers;
    private readonly GradientTensors _gradients;
    private readonly Tensor _settings, _norm;
    private Arena? _moments;
    private AdamWTensors? _tensors;

    /// <summary>Moments of zero for a model that keeps gradients.</summary>
    /// <param name="model">The model.</param>
    /// <param name="options">Constants.</param>
    /// <param name="reserve">Whether the moments' memory is taken now, or when the first step begins.</param>
    public AdamWOptimizer(DecoderModel model, AdamWOptions options, bool reserve = true)
    {
        if (!model.Parameters.Trainable) throw new BellmanException("AdamW: the model keeps no gradients; load it with trainable: true.");
        _model = model;
        _options = options;
        _numbers = new Arena(model.Device, sizeof(double) * (AdamWSettings.Numbers + 1) + 2 * 64);
        _settings = _numbers.Take(DType.F64, 1, AdamWSettings.Numbers);
        _norm = _numbers.Take(DType.F64, 1, 1);
        _gradients = new GradientTensors([.. model.Parameters.Items.Select(x => x.Gradient)]);
        if (reserve) Reserve();
    }

    /// <summary>Steps taken.</summary>
    public int Steps { get; private set; }

    /// <summary>Takes the norm over all gradients as they are now and leaves it on the device.</summary>
    public void MeasureGradients()
    {
        _model.Parameters.FinishClearing();
        GradientNorm.Norm(_gradients, _norm);
    }

    /// <summary>The norm measured last; waits for the device.</summary>
    public double ReadGradientNorm()
    {
        Span<double> norm = stackalloc double[1];
        _model.Device.Download(_norm, norm);
        return norm[0];
    }

    /// <summary>Begins a step: counts it and uploads what changes from step to step, so that <see cref="Step"/> may be part of a recorded one.</summary>
    /// <param name="learningRate">η of this step.</param>
    public void Begin(double learningRate)
    {
        Reserve();
        Span<double> numbers = stackalloc double[AdamWSettings.Numbers];
        new AdamWSettings(learningRate, _options.Beta1, _options.Beta2, _options.Epsilon, _options.WeightDecay, _options.ClipNorm).Write(++Steps, numbers);
        _model.Device.Upload<double>(numbers, _settings);
    }

    /// <summary>
    /// Clips by the norm measured last and updates the weights with what <see cref="Begin"/> uploaded; <see cref="DecoderModel.WeightsChanged"/>
    /// is to follow. A norm that is not finite changes nothing.
    /// </summary>
    public void Step() => AdamW.Step(_tensors!, _settings, _norm);

    /// <summary>Writes moments and step count to a safetensors file.</summary>
    public void Save(string path) => SafetensorsWriter.Write(path, Entries().Select(x => SafetensorsTensor.From(x.Name, [x.Tensor.Rows, x.Tensor.Columns], x.Tensor, DType.F32)),
        new Dictionary<string, string> { ["format"] = "pt", [StepKey] = Steps.ToString(CultureInfo.InvariantCulture) });

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <exception cref="CheckpointException">The file is missing, damaged or of another model.</exception>
    public void Load(string path)
    {
        using var reader = SafetensorsReader.Open(path);
        foreach ((string name, Tensor tensor) in Entries())
        {
            var values = new float[tensor.Length];
            reader.ReadFloats(name, values);
            tensor.Device.Upload<float>(values, tensor);
        }
        if (!reader.Metadata.TryGetValue(StepKey, out string? text) || !int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int steps))
            throw new CheckpointException($"{path}: expected the metadata '{StepKey}' of an optimiser state; the file is none, or damaged.");
        Steps = steps;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _tensors?.Dispose();
        _gradients.Dispose();
        _moments?.Dispose();
        _numbers.Dispose();
    }

    private AdamWTensors Reserve()
    {
        if (_tensors is not null) return _tensors;
        IReadOnlyList<Parameter> parameters = _model.Parameters.Items;
        using (Device.Holding("AdamW moments")) _moments = new Arena(_model.Device, 2 * parameters.Sum(x => (x.Length * sizeof(float) + 63) / 64 * 64));
        var tensors = new AdamWTensor[parameters.Count];
        for (int i = 0; i < tensors.Length; i++)
        {
            Parameter p = parameters[i];
            tensors[i] = new AdamWTensor(p.Master, p.Gradient, _moments.Take(p.Rows, p.Columns), _moments.Take(p.Rows, p.Columns), p.Decays, p.IsRounded ? p.Value : default);
        }
        return _tensors = new AdamWTensors(tensors);
    }

    private IEnumerable<(string Name, Tensor Tensor)> Entries()
    {
        AdamWTensors tensors = Reserve();
        for (int i = 0; i < tensors.Items.Length; i++)
        {
            string name = _model.Parameters.Items[i].Parts[0].Name;
            yield return ("first_moment." + name, tensors.Items[i].FirstMoment);
            yield return ("second_moment." + name, tensors.Items[i].SecondMoment);
        }
    }
}
