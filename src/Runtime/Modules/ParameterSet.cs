using Bellman.Kernels;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Runtime.Modules;

/// <summary>
/// All parameters of one model, their memory included: one block for the weights and, for a model in training, one for the
/// gradients and, where the device computes with bfloat16, one for the float32 weights, so that clearing, norms and the optimiser
/// are single passes.
/// </summary>
public sealed class ParameterSet : IDisposable
{
    private readonly List<Parameter> _parameters = [];
    private Arena? _values;
    private Arena? _gradients;
    private Arena? _masters;

    /// <summary>The parameters in the order of the forward pass.</summary>
    public IReadOnlyList<Parameter> Items => _parameters;

    /// <summary>Whether gradients are kept.</summary>
    public bool Trainable => _gradients is not null;

    /// <summary>Memory of the weights in bytes, without packed copies.</summary>
    public long Bytes => (_values?.Used ?? 0) + _parameters.Sum(x => x.Frozen?.Bytes ?? 0);

    /// <summary>Number of weights.</summary>
    public long Count => _parameters.Sum(x => x.Length);

    /// <summary>Declares a matrix [rows, columns] made of named parts.</summary>
    internal Parameter AddMatrix(int columns, params (string Name, int Rows)[] parts) => AddMatrix(columns, isPlain: false, parts);

    /// <summary>Declares a matrix that stays in its plain layout even in a model for inference.</summary>
    internal Parameter AddPlainMatrix(int columns, params (string Name, int Rows)[] parts) => AddMatrix(columns, isPlain: true, parts);

    private Parameter AddMatrix(int columns, bool isPlain, (string Name, int Rows)[] parts)
    {
        var list = new List<ParameterPart>();
        int row = 0;
        foreach ((string name, int rows) in parts)
        {
            list.Add(new(name, row, rows, IsVector: false));
            row += rows;
        }
        return Add(new Parameter(list, row, columns) { IsPlain = isPlain });
    }

    /// <summary>Declares a vector made of named parts that lie one after another.</summary>
    internal Parameter AddVector(params (string Name, int Length)[] parts)
    {
        var list = new List<ParameterPart>();
        int start = 0;
        foreach ((string name, int length) in parts)
        {
            list.Add(new(name, start, length, IsVector: true));
            start += length;
        }
        return Add(new Parameter(list, 1, start) { IsPlain = true });
    }

    /// <summary>Allocates zeroed memory for everything declared.</summary>
    /// <param name="device">Where.</param>
    /// <param name="trainable">Whether to keep gradients.</param>
    /// <param name="exact">Whether to keep float32 weights besides those of the device's type; a model in training always does.</param>
    /// <param name="frozen">How the matrices of a model for inference on CPU are held; null for plain ones that can be changed.</param>
    internal void Allocate(Device device, bool trainable, bool exact = false, WeightFormat? frozen = null)
    {
        if (frozen is not null && trainable) throw new BellmanException($"Model: weights in training are float32, {frozen} is for inference; leave the format or the gradients out.");
        if (frozen is not null && device != Device.Cpu) throw new DeviceException($"Model: weights as {frozen} serve the CPU only, the device is {device.Name}; leave the format out.");
        _parameters.ForEach(x => x.IsPlain |= frozen is null);
        bool rounds = device.ActivationType != DType.F32;
        using (Device.Holding("weights")) _values = new Arena(device, PlainBytes(device.ActivationType));
        if (trainable)
            using (Device.Holding("gradients")) _gradients = new Arena(device, PlainBytes(DType.F32));
        if (rounds && (trainable || exact))
            using (Device.Holding("float32 weights")) _masters = new Arena(device, PlainBytes(DType.F32));
        foreach (Parameter parameter in _parameters)
        {
            if (!parameter.IsPlain)
            {
                using (Device.Holding("weights")) parameter.Frozen = new FrozenWeight(frozen!.Value, parameter.Rows, parameter.Columns);
                continue;
            }
            parameter.Value = _values.TakeActivation(parameter.Rows, parameter.Columns);
            parameter.Master = !rounds ? parameter.Value : _masters?.Take(parameter.Rows, parameter.Columns) ?? default;
            if (trainable) parameter.Gradient = _gradients!.Take(parameter.Rows, parameter.Columns);
        }
    }

    private long PlainBytes(DType type) => _parameters.Where(x => x.IsPlain).Sum(x => (x.Length * type.Size() + 63) / 64 * 64);

    /// <summary>
    /// Sets all gradients to zero; their memory is written when a backward first reaches it, or by <see cref="FinishClearing"/>.
    /// </summary>
    public void ClearGradients()
    {
        foreach (Parameter parameter in _parameters) parameter.ClearGradient();
    }

    /// <summary>Writes the zeros that <see cref="ClearGradients"/> put off and no backward has reached. Whoever holds a gradient's tensor needs it.</summary>
    public void FinishClearing()
    {
        foreach (Parameter parameter in _parameters) parameter.FinishClearing();
    }

    /// <summary>Copies all weights from a set of the same shapes.</summary>
    public void CopyFrom(ParameterSet other)
    {
        if (other._parameters.Count != _parameters.Count) throw new ShapeException("ParameterSet: the two models have different parameters.");
        for (int i = 0; i < _parameters.Count; i++) _parameters[i].CopyFrom(other._parameters[i]);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _values?.Dispose();
        _gradients?.Dispose();
        _masters?.Dispose();
        foreach (Parameter parameter in _parameters) parameter.Frozen?.Dispose();
    }

    private Parameter Add(Parameter parameter)
    {
        _parameters.Add(parameter);
        return parameter;
    }
}
