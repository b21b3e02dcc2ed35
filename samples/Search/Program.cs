using Bellman.Runtime.Generation;
using Bellman.Runtime.Models;
using Bellman.Runtime.Search;
using Bellman.Runtime.Tokenizers;
using Bellman.Training.Jobs;

// A search of one's own: arguments are a policy, a value model, a file for the trees (.html or .jsonl) and prompts
using LanguageModel policy = LanguageModel.Load(args[0]);
using ValueModel value = ValueModel.Load(args[1]);
Tokenizer tokenizer = Tokenizer.Load(args[0]);
int[][] prompts = [.. args[3..].Select(x => tokenizer.EncodeToIds(x))];
var trees = new SearchTreeFile(tokenizer);
using var stop = new CancellationTokenSource(TimeSpan.FromMinutes(5));
using var search = new TreeSearch(new SearchModels(policy, value), new SearchOptions
{
    StepEnd = StopRule.Strings(tokenizer, ["\n"]), MaxSteps = 8, Sampling = new() { Temperature = 0.7f, MaxTokens = 64, Seed = 1 }, Budget = new() { Tokens = 2000 },
});

// Called for each problem as soon as its search ends, while the others go on.
search.Run(new Backtracking(draws: 4), prompts, result =>
{
    trees.Add(result, prompts[result.Problem]);
    Console.WriteLine($"{args[3 + result.Problem]} → {tokenizer.Decode(result.Best.Solution())} (V = {result.Best.Value:0.00}, {result.Counts.DistinctTokens} tokens{(result.Best.IsFinished ? "" : ", not finished")})");
}, stop.Token);
trees.Save(args[2]);

// Follows the best step while V does not fall, else goes back to the best node that was left aside.
internal sealed class Backtracking(int draws) : ISearch
{
    public string Name => "backtracking";

    public bool NeedsScores => true;

    public async Task<SearchNode?> Run(SearchTree tree)
    {
        var open = new PriorityQueue<SearchNode, float>();
        open.Enqueue(tree.Root, 0);
        while (tree.Finished.Count == 0 && !tree.IsExhausted && open.TryDequeue(out SearchNode? node, out _))
        {
            // All samples of a round are drawn together with those of the other problems.
            foreach (SearchNode step in (await tree.Expand(new Growth(node, draws)))[0].Distinct())
                if (step.CanExpand) open.Enqueue(step, float.IsFinite(step.Value) ? -step.Value : float.PositiveInfinity);
        }
        // The finished solution of highest value, else the best partial one.
        return null;
    }
}
