using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Modules;
using Xunit;

namespace Bellman.Runtime.Tests.Models;

public sealed class GradientClearingTests
{
    [Fact]
    public void Cleared_gradients_are_zero_for_whoever_looks_and_for_whoever_holds_them()
    {
        using LanguageModel model = LanguageModel.Create(TinyModels.Config, 1, trainable: true);
        Tensor[] held = [.. model.Parameters.Items.Select(x => x.Gradient)];
        foreach (Tensor gradient in held) gradient.AsSpan<float>().Fill(float.NaN);
        model.Parameters.ClearGradients();
        Parameter first = model.Parameters.Items[0];
        Assert.All(first.GradientOf(first.Parts[0]).ToArray<float>(), x => Assert.Equal(0f, x));
        model.Parameters.FinishClearing();
        foreach (Tensor gradient in held) Assert.All(gradient.ToArray<float>(), x => Assert.Equal(0f, x));
    }

    [Fact]
    public void A_backward_after_clearing_leaves_nothing_of_what_was_there()
    {
        using LanguageModel model = LanguageModel.Create(TinyModels.Config, 2, trainable: true);
        int[] ids = TinyModels.Prompt(3, 9), rows = [0, 3, 7];
        using var run = new ForwardBackward(model, ids, 0, ids.Length);
        foreach (Parameter parameter in model.Parameters.Items) parameter.Gradient.AsSpan<float>().Fill(float.NaN);
        run.LogProbs(rows, [5, 6, 7], [1f, 1f, 1f]);
        foreach (Parameter parameter in model.Parameters.Items)
            Assert.All(parameter.Gradient.ToArray<float>(), x => Assert.True(float.IsFinite(x), parameter.Parts[0].Name));
    }
}
