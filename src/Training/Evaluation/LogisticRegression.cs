using System.Text.RegularExpressions;

namespace Bellman.Training.Evaluation;

/// <summary>
/// Logistic regression on named features with a quadratic penalty, fitted by Adam on all examples at once: equal data, equal weights.
/// The yardstick beside a value model.
/// </summary>
internal sealed partial class LogisticRegression
{
    private const int Passes = 300;
    private const double Rate = 0.05, Beta1 = 0.9, Beta2 = 0.999;

    private readonly Dictionary<string, int> _names = new(StringComparer.Ordinal);
    private readonly double[] _weights;

    /// <summary>Fits.</summary>
    /// <param name="examples">Features of each example; a name's values add up.</param>
    /// <param name="labels">What is to be foretold.</param>
    /// <param name="penalty">Weight of ½‖w‖² beside the mean log loss; the intercept is free.</param>
    /// <param name="minimumCount">A feature in fewer examples is left out.</param>
    public LogisticRegression(IReadOnlyList<IReadOnlyDictionary<string, double>> examples, IReadOnlyList<bool> labels, double penalty = 1e-3, int minimumCount = 1)
    {
        foreach (IGrouping<string, string> name in examples.SelectMany(x => x.Keys).GroupBy(x => x).OrderBy(x => x.Key, StringComparer.Ordinal))
            if (name.Count() >= minimumCount) _names.Add(name.Key, _names.Count + 1);
        (int, double)[][] rows = [.. examples.Select(Row)];
        _weights = new double[_names.Count + 1];
        double[] gradient = new double[_weights.Length], mean = new double[_weights.Length], square = new double[_weights.Length];
        for (int pass = 1; pass <= Passes; pass++)
        {
            for (int j = 0; j < gradient.Length; j++) gradient[j] = j == 0 ? 0 : penalty * _weights[j];
            for (int i = 0; i < rows.Length; i++)
            {
                double slope = (Sigmoid(Score(rows[i])) - (labels[i] ? 1 : 0)) / rows.Length;
                gradient[0] += slope;
                foreach ((int feature, double value) in rows[i]) gradient[feature] += slope * value;
            }
            for (int j = 0; j < gradient.Length; j++)
            {
                mean[j] = Beta1 * mean[j] + (1 - Beta1) * gradient[j];
                square[j] = Beta2 * square[j] + (1 - Beta2) * gradient[j] * gradient[j];
                _weights[j] -= Rate * mean[j] / (1 - Math.Pow(Beta1, pass)) / (Math.Sqrt(square[j] / (1 - Math.Pow(Beta2, pass))) + 1e-8);
            }
        }
    }

    /// <summary>Probability of the label; unknown features count nothing.</summary>
    public float Predict(IReadOnlyDictionary<string, double> example) => (float)Sigmoid(Score(Row(example)));

    /// <summary>Which words and numbers a question and an answer hold, as a vector of length 1.</summary>
    public static Dictionary<string, double> BagOfWords(string question, string answer)
    {
        var bag = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (Match word in Words().Matches(question.ToLowerInvariant())) bag["q:" + word.Value] = 1;
        foreach (Match word in Words().Matches(answer.ToLowerInvariant())) bag["a:" + word.Value] = 1;
        double length = Math.Sqrt(bag.Count);
        foreach (string word in bag.Keys.ToArray()) bag[word] /= length;
        return bag;
    }

    private (int, double)[] Row(IReadOnlyDictionary<string, double> example) =>
        [.. example.Where(x => _names.ContainsKey(x.Key)).Select(x => (_names[x.Key], x.Value)).OrderBy(x => x.Item1)];

    private double Score((int Feature, double Value)[] row)
    {
        double score = _weights[0];
        foreach ((int feature, double value) in row) score += _weights[feature] * value;
        return score;
    }

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    [GeneratedRegex(@"\p{L}+|\p{N}+", RegexOptions.CultureInvariant)]
    private static partial Regex Words();
}
