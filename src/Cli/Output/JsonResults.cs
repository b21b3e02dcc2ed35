using System.Text.Json;
using Bellman.Training.Evaluation;

namespace Bellman.Cli.Output;

/// <summary>Fields of machine-readable results.</summary>
internal static class JsonResults
{
    /// <summary>accuracy, low, high, correct, total.</summary>
    public static void WriteAccuracy(this Utf8JsonWriter json, AccuracyInterval accuracy)
    {
        json.WriteNumber("accuracy", accuracy.Accuracy);
        json.WriteNumber("low", accuracy.Low);
        json.WriteNumber("high", accuracy.High);
        json.WriteNumber("correct", accuracy.Correct);
        json.WriteNumber("total", accuracy.Total);
    }
}
