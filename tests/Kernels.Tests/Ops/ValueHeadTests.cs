using Bellman.Kernels.Ops.ValueHead;
using Bellman.Tests;
using Xunit;

namespace Bellman.Kernels.Tests.Ops;

public sealed class ValueHeadTests
{
    [Theory]
    [InlineData(1, 1)]
    [InlineData(5, 31)]
    [InlineData(40, 64)]
    public void Agrees_with_the_reference_at_every_width(int tokens, int channels)
    {
        float[] hidden = TestTensors.Normal(1, tokens * channels), weight = TestTensors.Normal(2, channels), dValues = TestTensors.Normal(3, tokens);
        var values = new float[tokens];
        var dHidden = new float[hidden.Length];
        var dWeight = new float[channels];
        ValueHeadReference.Forward(hidden, weight, values);
        ValueHeadReference.Backward(dValues, hidden, weight, dHidden, dWeight);
        foreach (int width in TestTensors.Widths())
        {
            Tensor h = Device.Cpu.Create<float>(hidden, tokens, channels), w = Device.Cpu.Create<float>(weight, 1, channels);
            Tensor v = TestTensors.Guarded(tokens, 1, out Action checkV), dh = TestTensors.Guarded(tokens, channels, out Action checkDh), dw = Device.Cpu.Create(DType.F32, 1, channels);
            ValueHead.Forward(h, w, v);
            ValueHead.Backward(Device.Cpu.Create<float>(dValues, tokens, 1), h, w, dh, dw);
            TensorComparer.CloseToScale(values, v.AsSpan<float>(), 1e-6, $"values at {width} bits");
            TensorComparer.CloseToScale(dHidden, dh.AsSpan<float>(), 1e-6, $"dHidden at {width} bits");
            TensorComparer.CloseToScale(dWeight, dw.AsSpan<float>(), 2e-6, $"dWeight at {width} bits");
            checkV();
            checkDh();
        }
    }

    [Fact]
    public void Worked_by_hand()
    {
        // h = [1 2; 3 4], w = [10 100]: V = [210, 430]. dV = [1, −1]: dh = ±w, dw = h0 − h1.
        Tensor h = Device.Cpu.Create<float>([1, 2, 3, 4], 2, 2), w = Device.Cpu.Create<float>([10, 100], 1, 2), v = Device.Cpu.Create(DType.F32, 2, 1);
        ValueHead.Forward(h, w, v);
        Assert.Equal([210f, 430f], v.ToArray<float>());
        Tensor dh = Device.Cpu.Create(DType.F32, 2, 2), dw = Device.Cpu.Create(DType.F32, 1, 2);
        ValueHead.Backward(Device.Cpu.Create<float>([1, -1], 2, 1), h, w, dh, dw);
        Assert.Equal([10f, 100f, -10f, -100f], dh.ToArray<float>());
        Assert.Equal([-2f, -2f], dw.ToArray<float>());
    }
}
