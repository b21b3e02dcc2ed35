using System.Text.RegularExpressions;
using Bellman.Kernels;
using Bellman.Kernels.Random;
using Bellman.Training.Tasks;
using Xunit;

namespace Bellman.Training.Tests.Tasks;

public sealed class BoardTests
{
    private const string Example = "31>65 7:11 46\n";
    private const string Answer = "D41\nR42\nR43\nR44\nR45\nD55\nD65\n####65";

    public static TheoryData<string> Tasks => [.. ReasoningTasks.Names];

    [Theory]
    [InlineData(Answer, null)]
    // Each fault names its own line.
    [InlineData("", 0)]
    [InlineData("####65", 0)]
    [InlineData("U21\n####21", 1)] // a legal walk that ends short of the goal: the answer is the wrong line
    [InlineData("L30\n", 0)] // off the edge
    [InlineData("D41\nR43\n####65", 1)] // names the wrong cell
    [InlineData("D41\nR42\nR43\nR44\nR45\nR46\nD56\n####65", 5)] // into a wall
    [InlineData("D41\nU31\nD41\nR42\nR43\nR44\nR45\nD55\nD65\n####65", 7)] // the budget is seven moves
    [InlineData("D41\nR42\nR43\nR44\nR45\nD55\nD65", 7)] // no answer
    [InlineData("D41\nR42\nR43\nR44\nR45\nD55\nD65\n", 7)]
    [InlineData("D41\nR42\nR43\nR44\nR45\nD55\nD65\n####64", 7)] // right walk, wrong answer
    [InlineData("D41\nR42\nR43\nR44\nR45\nD55\nD65\n####", 7)]
    [InlineData("D41\nR42\nR43\nR44\nR45\nD55\nD65\n####65\n", 8)] // text after the answer
    [InlineData("D41\nR42\nR43\nR44\nR45\nD55\nD65\n####65 ", 7)]
    [InlineData("D41\n\nR42", 1)]
    [InlineData("d41\n####65", 0)]
    [InlineData("D41 \n####65", 0)]
    [InlineData("D４１\n####65", 0)] // digits of another alphabet
    public void Grader_names_the_first_wrong_step(string response, int? firstWrong)
    {
        Board task = new();
        GradeResult grade = task.Grade(task.Parse(Example), response);
        Assert.Equal(firstWrong, grade.FirstWrongStep);
        Assert.Equal(firstWrong is null, grade.Correct);
        Assert.False(string.IsNullOrEmpty(grade.Reason));
    }

    [Fact]
    public void A_walk_may_pass_over_the_goal_when_it_ends_there()
    {
        Board task = new();
        TaskProblem problem = task.Parse("11>12 3:65 66\n");
        Assert.True(task.Grade(problem, "R12\nR13\nL12\n####12").Correct);
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Every_verdict_agrees_with_an_independent_replay(string name)
    {
        IReasoningTask task = ReasoningTasks.Create(name);
        PhiloxRandom random = new(11);
        string letters = "UDLR123456#\n x";
        int right = 0, wrong = 0;
        foreach (TaskDemonstration shown in task.Demonstrations(1500, seed: 5))
        {
            int size = ((GridProblem)shown.Problem).Size;
            Check(shown.Response);
            Assert.Equal(shown.Grade, task.Grade(shown.Problem, shown.Response));
            // One character changed, dropped or doubled; one line dropped or doubled.
            for (int mutation = 0; mutation < 8; mutation++)
            {
                int at = random.Next(shown.Response.Length);
                List<string> lines = [.. shown.Response.Split('\n')];
                int line = random.Next(lines.Count);
                string mutant = (mutation % 5) switch
                {
                    0 => shown.Response[..at] + letters[random.Next(letters.Length)] + shown.Response[(at + 1)..],
                    1 => shown.Response.Remove(at, 1),
                    2 => shown.Response.Insert(at, shown.Response[at].ToString()),
                    3 => string.Join('\n', lines.Where((_, i) => i != line)),
                    _ => string.Join('\n', lines.SelectMany((text, i) => i == line ? [text, text] : new[] { text })),
                };
                Check(mutant);
            }

            // Which leaps come off is no rule but a draw, and tested as one in LeapsTests.
            bool Holds(string cell, char letter)
            {
                GridProblem board = (GridProblem)shown.Problem;
                LeapsSettings settings = new();
                return board.Holds(GridProblem.ParseCell(cell, size), GridProblem.Directions.IndexOf(letter), letter is 'U' or 'D' ? settings.UprightHolds : settings.SidewaysHolds);
            }

            void Check(string response)
            {
                GradeResult grade = task.Grade(shown.Problem, response);
                Assert.Equal(GridWalkReplay.IsRight(shown.Problem.Prompt, response, size, name == Leaps.TaskName ? Holds : null), grade.Correct);
                if (grade.Correct) right++;
                else wrong++;
            }
        }
        Assert.InRange(right, 500, 4000);
        Assert.InRange(wrong, 5000, 13000);
    }

    [Fact]
    public void Every_legal_walk_of_a_small_board_is_judged_by_its_end_and_length()
    {
        // All 4^1 + … + 4^4 sequences of directions on 3×3, each step naming its true cell: right exactly when all are legal and the last is the goal.
        Board task = new(new BoardSettings { Size = 3, Walls = 1, MinDistance = 1, MaxDistance = 4 });
        GridProblem problem = (GridProblem)task.Parse("11>22 4:12\n");
        int right = 0;
        for (int length = 1; length <= 5; length++)
            for (int code = 0; code < 1 << (2 * length); code++)
            {
                int cell = problem.Start;
                List<string> lines = [];
                for (int i = 0; i < length && cell >= 0; i++)
                {
                    int direction = code >> (2 * i) & 3;
                    cell = problem.Step(cell, direction);
                    if (cell >= 0) lines.Add(GridProblem.Directions[direction] + problem.CellName(cell));
                }
                if (cell < 0) continue;
                string response = string.Join('\n', lines) + "\n####22";
                bool expected = cell == problem.Goal && length <= 4;
                Assert.Equal(expected, task.Grade(problem, response).Correct);
                if (expected) right++;
            }
        // D R; then with four moves: D D U R, D U D R, D R then away and back (to 21, 23 or 32), D D R U.
        Assert.Equal(1 + 6, right);
    }

    [Fact]
    public void Demonstrator_succeeds_on_about_two_thirds()
    {
        int correct = new Board().Demonstrations(5000, seed: 1).Count(x => x.Grade.Correct);
        Assert.InRange(correct / 5000.0, 0.60, 0.67);
    }

    [Fact]
    public void A_demonstrator_without_noise_and_habit_takes_a_shortest_way()
    {
        Board task = new(new BoardSettings { Noise = 0, Habit = 0, VerticalHabit = 0 });
        foreach (TaskDemonstration shown in task.Demonstrations(300, seed: 1))
        {
            Assert.True(shown.Grade.Correct);
            Assert.Equal(((GridProblem)shown.Problem).ShortestWay, shown.Response.Split('\n').Length - 1);
        }
    }

    [Fact]
    public void A_habit_without_escape_repeats_every_sideways_move_that_is_still_legal()
    {
        Board task = new(new BoardSettings { Noise = 0, Habit = 1, VerticalHabit = 0 });
        int repeated = 0;
        foreach (TaskDemonstration shown in task.Demonstrations(500, seed: 2))
        {
            GridProblem board = (GridProblem)shown.Problem;
            string[] lines = shown.Response.Split('\n')[..^1];
            for (int i = 1; i < lines.Length; i++)
            {
                int last = GridProblem.Directions.IndexOf(lines[i - 1][0]);
                if (last < 2 || board.Step(GridProblem.ParseCell(lines[i - 1].AsSpan(1), board.Size), last) < 0) continue;
                Assert.Equal(lines[i - 1][0], lines[i][0]);
                repeated++;
            }
        }
        Assert.True(repeated > 200);
    }

    [Fact]
    public void Problems_keep_the_rules_of_the_generator()
    {
        int withSlack = 0, count = 4000;
        foreach (TaskProblem problem in new Board().Problems(TaskSplit.Rollout, count, seed: 9))
        {
            GridProblem board = (GridProblem)problem;
            Assert.InRange(board.ShortestWay!.Value, 3, 7);
            Assert.Contains(board.Moves - board.ShortestWay.Value, new[] { 0, 2 });
            Assert.Equal(2, board.Walls.Count);
            Assert.Equal(4, new HashSet<int> { board.Start, board.Goal, board.Walls[0], board.Walls[1] }.Count);
            if (board.Moves > board.ShortestWay) withSlack++;
        }
        Assert.InRange((double)withSlack / count, 0.46, 0.54);
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Splits_share_no_board_even_across_seeds(string name)
    {
        IReasoningTask task = ReasoningTasks.Create(name);
        Dictionary<string, TaskSplit> owner = [];
        foreach (TaskSplit split in Enum.GetValues<TaskSplit>())
            for (ulong seed = 0; seed < 3; seed++)
            {
                HashSet<string> boards = [];
                foreach (TaskProblem problem in task.Problems(split, 2000, seed))
                {
                    // The budget is not part of a board's identity.
                    string board = Regex.Replace(problem.Prompt, " [0-9]+:", ":");
                    Assert.True(boards.Add(board), "a board came twice");
                    Assert.Equal(split, owner.TryAdd(board, split) ? split : owner[board]);
                }
            }
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Same_seed_same_problems_and_a_larger_count_extends_them(string name)
    {
        IReasoningTask first = ReasoningTasks.Create(name), second = ReasoningTasks.Create(name);
        IReadOnlyList<TaskDemonstration> few = first.Demonstrations(300, seed: 4), many = second.Demonstrations(500, seed: 4);
        for (int i = 0; i < few.Count; i++) Assert.Equal((few[i].Problem.Prompt, few[i].Response), (many[i].Problem.Prompt, many[i].Response));
        Assert.NotEqual(few[0].Problem.Prompt + few[1].Problem.Prompt, first.Demonstrations(2, seed: 5)[0].Problem.Prompt + few[1].Problem.Prompt);
    }

    [Theory]
    [MemberData(nameof(Tasks))]
    public void Every_text_is_covered_by_the_vocabulary(string name)
    {
        IReasoningTask task = ReasoningTasks.Create(name);
        HashSet<string> symbols = [.. task.Vocabulary];
        Assert.Equal(task.Vocabulary.Count, symbols.Count);
        Assert.Equal((ReasoningTasks.PadToken, ReasoningTasks.EndToken), (task.Vocabulary[0], task.Vocabulary[1]));
        foreach (TaskDemonstration shown in task.Demonstrations(2000, seed: 6))
        {
            string text = shown.Problem.Prompt + shown.Response, cut = "";
            foreach (Match match in Regex.Matches(text, task.SplitPattern))
            {
                Assert.Contains(match.Value, symbols);
                cut += match.Value;
            }
            Assert.Equal(text, cut);
        }
    }

    [Fact]
    public void Embedded_task_has_58_symbols() => Assert.Equal(58, new Board().Vocabulary.Count);

    [Fact]
    public void Maze_walker_heads_for_the_goal_and_often_fails()
    {
        int correct = new Maze().Demonstrations(3000, seed: 1).Count(x => x.Grade.Correct);
        Assert.InRange(correct / 3000.0, 0.25, 0.75);
        // Blind to walls but with no other distraction: on a board without walls every walk is a shortest one.
        Maze open = new(new MazeSettings { Walls = 0, ShortestWay = 0, Nearer = 1 });
        Assert.All(open.Demonstrations(200, seed: 1), x => Assert.True(x.Grade.Correct));
    }

    [Fact]
    public void Settings_that_allow_no_problem_are_refused()
    {
        Assert.Contains("size", Assert.Throws<BellmanException>(() => new Board(new BoardSettings { Size = 10 })).Message);
        Assert.Contains("walls", Assert.Throws<BellmanException>(() => new Board(new BoardSettings { Walls = 34 })).Message);
        Assert.Contains("max distance", Assert.Throws<BellmanException>(() => new Board(new BoardSettings { MinDistance = 8 })).Message);
        Assert.Contains("slack", Assert.Throws<BellmanException>(() => new Board(new BoardSettings { Slack = -1 })).Message);
        Assert.Contains("noise", Assert.Throws<BellmanException>(() => new Board(new BoardSettings { Noise = double.NaN })).Message);
        Assert.Contains("chances", Assert.Throws<BellmanException>(() => new Maze(new MazeSettings { Nearer = 0.9 })).Message);
        Assert.Contains("board, maze", Assert.Throws<BellmanException>(() => ReasoningTasks.Create("bord")).Message);
        // On 2×2 there are few boards: asking for more ends with an error, not a hang.
        Board tiny = new(new BoardSettings { Size = 2, Walls = 0, MinDistance = 1, MaxDistance = 2 });
        Assert.Contains("larger board", Assert.Throws<BellmanException>(() => tiny.Problems(TaskSplit.HeldOut, 50, seed: 0)).Message);
    }
}
