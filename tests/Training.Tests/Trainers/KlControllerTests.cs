using System.Text.Json;
using Bellman.Tests;
using Bellman.Training.Trainers;
using Xunit;

namespace Bellman.Training.Tests.Trainers;

public sealed class KlControllerTests
{
    [Fact]
    public void Steps_worked_by_hand()
    {
        // Adam's first step is the learning rate in the gradient's direction: up while KL is above the target.
        KlController start = new(Target: 0.1, LearningRate: 0.01, LogCoefficient: -2);
        KlController above = start.Next(0.3), below = start.Next(0.05);
        TensorComparer.Close(-1.99, above.LogCoefficient, 1e-8, 0, "above");
        TensorComparer.Close(-2.01, below.LogCoefficient, 1e-8, 0, "below");
        TensorComparer.Close(Math.Exp(-2), start.Coefficient, 0, 1e-15, "coefficient");
        // Second step with gradient 0 after −0.2: m = 0.9·(−0.02), corrected by 0.19; v = 0.999·4e-5, corrected by 0.001999.
        KlController second = above.Next(0.1);
        double m = -0.018 / 0.19, v = Math.Sqrt(0.999 * 4e-5 / 0.001999);
        TensorComparer.Close(above.LogCoefficient - 0.01 * m / v, second.LogCoefficient, 1e-8, 0, "second");
        Assert.Equal(2, second.Steps);
        Assert.True(double.IsNaN(start.Next(double.NaN).Coefficient));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Golden_steps_of_the_authors_loop()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("oreo_fit_step.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            if (!record.TryGetProperty("kl_targ", out JsonElement target) || target.ValueKind != JsonValueKind.Number) continue;
            KlController start = new(target.GetDouble(), record.GetProperty("kl_coeff_lr").GetDouble(), record.GetProperty("init_log_kl_coeff").GetDouble());
            KlController next = start.Next(record.GetProperty("log_kl_reg_f64").GetDouble());
            string key = record.GetProperty("key").GetString()!;
            TensorComparer.Close(record.GetProperty("log_log_kl_coeff_f64").GetDouble(), next.LogCoefficient, 1e-6, 2e-5, $"{key} λ");
            double share = record.GetProperty("actor_objective_f64").GetDouble() - record.GetProperty("log_actor_loss_f64").GetDouble();
            TensorComparer.Close(share, start.Coefficient * record.GetProperty("log_kl_reg_f64").GetDouble(), 1e-6, 2e-5, $"{key} α·KL");
            cases++;
        }
        if (cases == 0) Assert.Skip("this golden folder has no case with a KL target.");
    }
}
