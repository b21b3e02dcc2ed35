using System.Globalization;
using Bellman.Training.Jobs;

namespace Bellman.Cli.Output;

/// <summary>How <c>bellman bench search</c> shows its three ways.</summary>
internal static class BenchSearchText
{
    public static void Write(TextWriter output, BenchSearchResult result, bool json)
    {
        if (json)
        {
            output.WriteLine(JsonLineWriter.Format(line =>
            {
                line.WriteString("measurement", "search");
                line.WriteNumber("policy_tokens", result.Tree.PolicyTokens);
                line.WriteNumber("value_tokens", result.Tree.ValueTokens);
                line.WriteNumber("distinct_tokens", result.DistinctTokens);
                line.WriteNumber("seconds", Math.Round(result.Tree.Seconds, 4));
                line.WriteNumber("resend_seconds", Math.Round(result.Resend.Seconds, 4));
                line.WriteNumber("per_beam_seconds", Math.Round(result.PerBeam.Seconds, 4));
                line.WriteNumber("evictions", result.Tree.Evictions);
                line.WriteNumber("resend_evictions", result.Resend.Evictions);
                line.WriteNumber("per_beam_evictions", result.PerBeam.Evictions);
                line.WriteNumber("resend_policy_tokens", result.Resend.PolicyTokens);
                line.WriteNumber("resend_value_tokens", result.Resend.ValueTokens);
                line.WriteNumber("per_beam_policy_tokens", result.PerBeam.PolicyTokens);
                line.WriteNumber("per_beam_value_tokens", result.PerBeam.ValueTokens);
            }));
            return;
        }
        output.WriteLine($"{"",-16} {"seconds",10} {"policy tokens",14} {"value tokens",14} {"time",8}");
        Row("shared tree", result.Tree);
        Row("caches per beam", result.PerBeam);
        Row("text sent again", result.Resend);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{result.DistinctTokens} distinct tokens: the policy computed {(double)result.Tree.PolicyTokens / result.DistinctTokens:0.000} of them, the value model {(double)result.Tree.ValueTokens / result.DistinctTokens:0.000}; {result.Tree.Evictions} evictions"));

        void Row(string name, BenchSearchWay way) => output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{name,-16} {way.Seconds,10:0.000} {way.PolicyTokens,14} {way.ValueTokens,14} {way.Seconds / result.Tree.Seconds,7:0.00}x"));
    }
}
