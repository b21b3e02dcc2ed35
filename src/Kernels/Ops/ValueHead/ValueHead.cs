using Bellman.Kernels.Cuda;

namespace Bellman.Kernels.Ops.ValueHead;

/// <summary>The linear head of a value model: V_t = w · h_t, without bias.</summary>
public static class ValueHead
{
    /// <summary>values[t] = Σ_c hidden[t, c]·weight[c].</summary>
    /// <param name="hidden">[T, C], after the final norm.</param>
    /// <param name="weight">[1, C].</param>
    /// <param name="values">[T, 1], overwritten.</param>
    public static void Forward(Tensor hidden, Tensor weight, Tensor values)
    {
        Check("ValueHead.Forward", hidden, weight, values);
        if (hidden.Device is KernelDevice device) ValueHeadCuda.Forward(device, hidden, weight, values);
        else ValueHeadCpu.Forward(hidden, weight, values);
    }

    /// <summary>dHidden = dValues·w and dWeight += Σ_t dValues[t]·hidden[t].</summary>
    /// <param name="dValues">[T, 1].</param>
    /// <param name="hidden">The forward's input.</param>
    /// <param name="weight">[1, C].</param>
    /// <param name="dHidden">[T, C], overwritten.</param>
    /// <param name="dWeight">[1, C], added to.</param>
    public static void Backward(Tensor dValues, Tensor hidden, Tensor weight, Tensor dHidden, Tensor dWeight)
    {
        Check("ValueHead.Backward", hidden, weight, dValues);
        if (dHidden.Rows != hidden.Rows || dHidden.Columns != hidden.Columns || dWeight.Length != hidden.Columns)
            throw new ShapeException($"ValueHead.Backward: dHidden {dHidden} and dWeight {dWeight} do not match hidden {hidden}.");
        if (hidden.Device is KernelDevice device)
        {
            Contract.IsActivation(dHidden, device, "ValueHead.Backward", "dHidden", hidden.Rows, hidden.Columns);
            Contract.Is(dWeight, device, "ValueHead.Backward", "dWeight", 1, hidden.Columns);
            ValueHeadCuda.Backward(device, dValues, hidden, weight, dHidden, dWeight);
        }
        else ValueHeadCpu.Backward(dValues, hidden, weight, dHidden, dWeight);
    }

    private static void Check(string operation, Tensor hidden, Tensor weight, Tensor values)
    {
        if (weight.Length != hidden.Columns || values.Length != hidden.Rows)
            throw new ShapeException($"{operation}: hidden {hidden}, weight {weight} and values {values} do not fit; expected [T,C], [1,C], [T,1].");
        if (hidden.Device is KernelDevice device)
        {
            Contract.IsActivation(hidden, device, operation, "hidden", hidden.Rows, hidden.Columns);
            Contract.IsActivation(weight, device, operation, "weight", 1, hidden.Columns);
            Contract.Is(values, device, operation, "values", hidden.Rows, 1);
        }
        else if (hidden.Device != Device.Cpu) throw new DeviceException($"{operation}: no implementation for device {hidden.Device.Name}.");
    }
}
