using System.Text.Json;
using Bellman.Kernels;
using Bellman.Tests;
using Bellman.Training.Optimizers;
using Xunit;

namespace Bellman.Training.Tests.Optimizers;

public sealed class LearningRateScheduleTests
{
    [Fact]
    public void Numbers_worked_by_hand()
    {
        // Warm-up of 2 updates to 8, then 4 updates down to a quarter of it: shares 1, 3/4, 1/2, 1/4, 0 of the fall of 6.
        var linear = new LearningRateSchedule(ScheduleShape.Linear, 8, 2, 6, 0.25);
        Assert.Equal([0, 4, 8, 6.5, 5, 3.5, 2, 2], Enumerable.Range(0, 8).Select(linear.At));
        var cosine = new LearningRateSchedule(ScheduleShape.Cosine, 8, 0, 4, 0.25);
        Assert.Equal([8, 5, 2], new[] { 0, 2, 4 }.Select(x => Math.Round(cosine.At(x), 12)));
        var constant = new LearningRateSchedule(ScheduleShape.Constant, 8, 1, 0, 0.5);
        Assert.Equal([0, 8, 8, 8], new[] { 0, 1, 2, 99 }.Select(constant.At));
    }

    [Fact]
    public void Refuses_numbers_out_of_range()
    {
        Assert.Throws<BellmanException>(() => new LearningRateSchedule(ScheduleShape.Cosine, double.NaN, 0, 1));
        Assert.Throws<BellmanException>(() => new LearningRateSchedule(ScheduleShape.Cosine, 1, -1, 1));
        Assert.Throws<BellmanException>(() => new LearningRateSchedule(ScheduleShape.Cosine, 1, 0, -1));
        Assert.Throws<BellmanException>(() => new LearningRateSchedule(ScheduleShape.Cosine, 1, 0, 1, 1.5));
        Assert.Throws<ArgumentOutOfRangeException>(() => new LearningRateSchedule(ScheduleShape.Cosine, 1, 0, 1).At(-1));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Golden_schedules()
    {
        using JsonDocument index = JsonDocument.Parse(File.ReadAllText(TestData.Golden("optim.json")));
        int cases = 0;
        foreach (JsonElement record in index.RootElement.EnumerateArray())
        {
            double[] expected;
            LearningRateSchedule schedule;
            string name;
            if (record.GetProperty("kind").GetString() == "schedule")
            {
                name = record.GetProperty("name").GetString()!;
                ScheduleShape shape = name switch
                {
                    "cosine" => ScheduleShape.Cosine,
                    "linear" => ScheduleShape.Linear,
                    "constant" or "constant_with_warmup" => ScheduleShape.Constant,
                    _ => throw new NotSupportedException(name),
                };
                schedule = new(
                    shape, record.GetProperty("base_lr").GetDouble(), record.GetProperty("num_warmup_steps").GetInt32(),
                    record.GetProperty("num_training_steps").GetInt32());
                expected = [.. record.GetProperty("lr_at_step").EnumerateArray().Select(x => x.GetDouble())];
            }
            else
            {
                // The optimiser cases carry the rates they used.
                name = record.GetProperty("key").GetString()!;
                expected = [.. record.GetProperty("steps").EnumerateArray().Select(x => x.GetProperty("lr").GetDouble())];
                double peak = record.GetProperty("lr").GetDouble();
                JsonElement cosine = record.GetProperty("cosine_schedule");
                schedule = cosine.ValueKind == JsonValueKind.Null
                    ? new(ScheduleShape.Constant, peak, 0, 0)
                    : new(ScheduleShape.Cosine, peak, cosine.GetProperty("num_warmup_steps").GetInt32(), cosine.GetProperty("num_training_steps").GetInt32());
            }
            for (int i = 0; i < expected.Length; i++)
                TensorComparer.Close(expected[i], schedule.At(i), 1e-13 * schedule.Peak, 1e-7, $"{name} update {i}");
            cases++;
        }
        Assert.True(cases > 0, "the index lists no case");
    }
}
