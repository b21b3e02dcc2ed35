using System.Text.Json;
using Bellman.Training.Evaluation;

namespace Bellman.Training.Jobs;

/// <summary>How well one score tells right solutions from wrong ones.</summary>
/// <param name="Name">"V at the end", or a trivial predictor.</param>
/// <param name="All">Over all solutions.</param>
/// <param name="SameQuestion">Over pairs of solutions to one question; what search relies on. NaN without such pairs.</param>
/// <param name="SameSource">Over pairs from one source; NaN where sources are not known.</param>
/// <param name="BySource">Within each source.</param>
public sealed record ScoreQuality(string Name, AurocInterval All, double SameQuestion, double SameSource, IReadOnlyList<(string Source, AurocInterval Auroc)> BySource);

/// <summary>AUROC of V at one place of the solutions.</summary>
/// <param name="Place">"25 %" or "step 2".</param>
/// <param name="Auroc">Over the solutions that have this place.</param>
public sealed record PlaceQuality(string Place, AurocInterval Auroc);

/// <summary>A value model on labelled solutions.</summary>
/// <param name="Solutions">Solutions measured.</param>
/// <param name="Right">Right ones among them.</param>
/// <param name="Questions">Different questions.</param>
/// <param name="Dropped">Lines left out, because they are longer than the model takes or have no response.</param>
/// <param name="Scores">V at the end first, then the trivial predictors.</param>
/// <param name="Along">V after shares of the response, from the prompt's end on.</param>
/// <param name="StepEnds">V at the end of the first step, the second and so on, where both classes have at least 20 solutions.</param>
/// <param name="Calibration">V at the end against the verdict.</param>
public sealed record ValueEvaluation(int Solutions, int Right, int Questions, int Dropped, IReadOnlyList<ScoreQuality> Scores, IReadOnlyList<PlaceQuality> Along,
    IReadOnlyList<PlaceQuality> StepEnds, Calibration Calibration)
{
    /// <summary>V just before the end token.</summary>
    public ScoreQuality Value => Scores[0];

    /// <summary>Writes all numbers as JSON fields.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteNumber("solutions", Solutions);
        json.WriteNumber("right", Right);
        json.WriteNumber("questions", Questions);
        json.WriteNumber("dropped", Dropped);
        Auroc(json, "auroc", Value.All);
        json.WriteStartArray("scores");
        foreach (ScoreQuality score in Scores)
        {
            json.WriteStartObject();
            json.WriteString("name", score.Name);
            Auroc(json, "all", score.All);
            Number(json, "same_question", score.SameQuestion);
            Number(json, "same_source", score.SameSource);
            json.WriteStartObject("by_source");
            foreach ((string source, AurocInterval auroc) in score.BySource) Auroc(json, source, auroc);
            json.WriteEndObject();
            json.WriteEndObject();
        }
        json.WriteEndArray();
        Places(json, "along", Along);
        Places(json, "step_ends", StepEnds);
        Number(json, "calibration_error", Calibration.ExpectedError);
        Number(json, "squared_error", Calibration.SquaredError);
        Number(json, "constant_squared_error", Calibration.ConstantSquaredError);
        json.WriteStartArray("calibration");
        foreach (CalibrationBin bin in Calibration.Bins)
        {
            json.WriteStartObject();
            json.WriteNumber("count", bin.Count);
            Number(json, "mean_value", bin.MeanValue);
            Number(json, "share_right", bin.ShareRight);
            json.WriteEndObject();
        }
        json.WriteEndArray();
    }

    private static void Places(Utf8JsonWriter json, string name, IReadOnlyList<PlaceQuality> places)
    {
        json.WriteStartObject(name);
        foreach (PlaceQuality place in places) Auroc(json, place.Place, place.Auroc);
        json.WriteEndObject();
    }

    private static void Auroc(Utf8JsonWriter json, string name, AurocInterval auroc)
    {
        json.WriteStartObject(name);
        Number(json, "auroc", auroc.Area);
        Number(json, "low", auroc.Low);
        Number(json, "high", auroc.High);
        json.WriteNumber("right", auroc.Right);
        json.WriteNumber("wrong", auroc.Wrong);
        json.WriteEndObject();
    }

    /// <summary>JSON has no word for a number that is not one.</summary>
    internal static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value)) json.WriteNumber(name, Math.Round(value, 6));
        else json.WriteNull(name);
    }
}

/// <summary>A value model on solutions whose first wrong step is known.</summary>
/// <param name="Solutions">Solutions measured.</param>
/// <param name="Dropped">Lines left out, because they are longer than the model takes.</param>
/// <param name="Value">First step whose V at its end falls below a threshold.</param>
/// <param name="Fall">First step over which V falls by more than a threshold.</param>
/// <param name="Position">The blind yardstick: always the same step, where the solution is long enough.</param>
/// <param name="LowestValue">AUROC of the lowest V of a solution for "no step is wrong".</param>
/// <param name="LastValue">AUROC of V at the end of the last step for the same.</param>
public sealed record StepEvaluation(int Solutions, int Dropped, FirstErrorScore Value, FirstErrorScore Fall, FirstErrorScore Position, AurocInterval LowestValue, AurocInterval LastValue)
{
    /// <summary>The three rules with their names.</summary>
    public IReadOnlyList<(string Name, FirstErrorScore Score)> Rules => [("V below a threshold", Value), ("V falls by a threshold", Fall), ("always the same step", Position)];

    /// <summary>Writes all numbers as JSON fields.</summary>
    public void WriteTo(Utf8JsonWriter json)
    {
        json.WriteNumber("solutions", Solutions);
        json.WriteNumber("with_error", Value.WithError.Total);
        json.WriteNumber("dropped", Dropped);
        foreach ((string name, FirstErrorScore score) in (ReadOnlySpan<(string, FirstErrorScore)>)[("value", Value), ("fall", Fall), ("position", Position)])
        {
            json.WriteStartObject(name);
            ValueEvaluation.Number(json, "error_accuracy", score.WithError.Accuracy);
            ValueEvaluation.Number(json, "correct_accuracy", score.WithoutError.Accuracy);
            ValueEvaluation.Number(json, "f1", score.F1);
            json.WriteEndObject();
        }
        ValueEvaluation.Number(json, "lowest_value_auroc", LowestValue.Area);
        ValueEvaluation.Number(json, "last_value_auroc", LastValue.Area);
    }
}
