%%% What README.md and docs/ show is what happens, and nothing that they have to name is missing.
%%%
%%% An `erlang' block whose lines begin with a shell's prompt (`1> py:add(1, 2).') is run line by line; the variables of
%%% a page are kept up to its end. What is printed and the result are compared with the lines that follow the prompt:
%%% white space does not count, `...' stands for anything, and a failure may be shown by its first lines only.
%%% A `python' block that begins with a comment that names a file (`# shop.py') is a module that the page's calls can import.
-module(py_docs_SUITE).

-include_lib("common_test/include/ct.hrl").
-include_lib("stdlib/include/assert.hrl").

-export([suite/0, all/0, init_per_testcase/2, end_per_testcase/2]).
-export([
    what_the_pages_show_is_what_the_shell_shows/1,
    a_result_that_differs_is_told/1,
    what_stands_here_for_what_others_have_runs/1,
    configuration_that_is_shown_is_taken/1,
    erlang_that_is_shown_is_erlang/1,
    every_relative_link_leads_to_a_file/1,
    every_anchor_is_a_heading/1,
    every_function_of_py_is_documented/1,
    every_option_is_documented/1,
    every_reason_is_documented/1,
    every_make_target_that_is_named_exists/1
]).

-define(SESSIONS, [what_the_pages_show_is_what_the_shell_shows, a_result_that_differs_is_told, what_stands_here_for_what_others_have_runs]).
-define(LEAST_RESULTS, 100).

%% All prompts of all pages are one case.
suite() -> [{timetrap, {minutes, 15}}].

all() ->
    ?SESSIONS ++
        [
            configuration_that_is_shown_is_taken,
            erlang_that_is_shown_is_erlang,
            every_relative_link_leads_to_a_file,
            every_anchor_is_a_heading,
            every_function_of_py_is_documented,
            every_option_is_documented,
            every_reason_is_documented,
            every_make_target_that_is_named_exists
        ].

init_per_testcase(Case, Config) ->
    case lists:member(Case, ?SESSIONS) of
        true ->
            Modules = filename:join(?config(priv_dir, Config), "modules"),
            [write_module(Modules, Block) || Page <- pages(), {"python", Block} <- blocks(Page)],
            Paths = [Modules, filename:join(py_checkout:root(), "examples")],
            _ = application:load(py),
            application:set_env(py, state_dir, filename:join(?config(priv_dir, Config), "state")),
            ok = py_application:start([{default, #{size => 2, python_path => Paths}}]);
        false ->
            ok
    end,
    Config.

end_per_testcase(Case, _Config) ->
    case lists:member(Case, ?SESSIONS) of
        true ->
            application:unset_env(py, state_dir),
            py_application:stop();
        false -> ok
    end.

%%% Sessions

what_the_pages_show_is_what_the_shell_shows(_Config) ->
    {Counts, Differences} = lists:unzip([run_page(Page) || Page <- pages(), is_runnable(filename:basename(Page))]),
    ?assertEqual([], lists:append(Differences)),
    ct:comment("~w results", [lists:sum(Counts)]),
    ?assert(lists:sum(Counts) >= ?LEAST_RESULTS).

%% Its sessions need a sandbox, uvicorn, or numpy.
is_runnable("security.md") -> os:find_executable("bwrap") =/= false;
is_runnable("services.md") -> py:func('importlib.util', find_spec, [uvicorn]) =/= undefined;
is_runnable("packages.md") -> py:func('importlib.util', find_spec, [numpy]) =/= undefined;
is_runnable("arrays.md") -> py:func('importlib.util', find_spec, [numpy]) =/= undefined;
is_runnable(_) -> true.

%% The check itself: it would be worth nothing if it passed over these.
a_result_that_differs_is_told(_Config) ->
    Shown = fun(Lines) -> {_, Differences} = run_blocks("page", [Lines]), length(Differences) end,
    ?assertEqual(0, Shown(["1> X = py:add(1, 2).", "3", "2> X + 1.", "4"])),
    ?assertEqual(1, Shown(["1> py:add(1, 2).", "4"])),
    ?assertEqual(0, Shown(["1> py:pylist(py:range(9)).", "[0, 1, ...,", " 8]"])),
    ?assertEqual(1, Shown(["1> py:pylist(py:range(9)).", "[0, 1, ..., 9]"])),
    ?assertEqual(0, Shown(["1> py:truediv(1, 0).", "** exception error: {python,'builtins.ZeroDivisionError',..."])),
    ?assertEqual(1, Shown(["1> py:truediv(1, 0).", "** exception error: {python,'builtins.ValueError',..."])),
    ?assertEqual(1, Shown(["1> py:truediv(1, 1).", "** exception error: {python,'builtins.ZeroDivisionError',..."])),
    ?assertEqual(0, Shown(["1> py:print(<<\"hi\">>).", "hi", "undefined"])),
    ?assertEqual(1, Shown(["1> py:print(<<\"hi\">>).", "undefined"])).

%% The right columns of the tables in coming-from.md whose head says Erlang: from top to bottom, the variables of a table are kept.
what_stands_here_for_what_others_have_runs(_Config) ->
    [_ | Sections] = string:split(page("coming-from.md"), "\n## ", all),
    Tables = [rows_of_code(Section) || Section <- Sections, string:find(Section, "| Erlang here |") =/= nomatch],
    ?assertMatch([_, _, _], Tables),
    [
        lists:foldl(
            fun(Row, Bindings) ->
                case evaluate(Row ++ ".", Bindings) of
                    {"** " ++ _ = Failed, _} -> error({Row, Failed});
                    {_, Next} -> Next
                end
            end,
            erl_eval:new_bindings(),
            Rows
        )
     || Rows <- Tables
    ].

%% A bar in a cell is written with a backslash.
rows_of_code(Section) ->
    {match, Found} = re:run(Section, "^\\|.*\\| `([^`]+)` \\|$", [global, multiline, {capture, all_but_first, list}]),
    ?assert(length(Found) >= 7),
    [lists:append(string:replace(Code, "\\|", "|", all)) || [Code] <- Found].

%% An `erlang' block without a prompt that begins as a pool's, or an application's, configuration: `{ml, #{size => 8}}'.
configuration_that_is_shown_is_taken(_Config) ->
    Shown = [
        {filename:basename(Page), configuration(Lines)}
     || Page <- pages(), {"erlang", Lines} <- blocks(Page), re:run(Lines, "^{(?!ok)\\w+, (\\[|#{)", [{capture, none}]) =:= match
    ],
    ?assert(length(Shown) >= 8),
    [?assertEqual([], [Wrong || Wrong <- problems(Term)], Page) || {Page, Term} <- Shown].

%% Without a prompt: a module, functions of one, expressions, terms of a file.
erlang_that_is_shown_is_erlang(_Config) ->
    Shown = [{filename:basename(Page), Lines} || Page <- pages(), {"erlang", Lines} <- blocks(Page), steps(Lines) =:= []],
    ?assert(length(Shown) >= 20),
    ?assertEqual([], [{Page, hd(Lines)} || {Page, Lines} <- Shown, not is_erlang(lists:append(lists:join("\n", Lines)))]).

is_erlang(Text) ->
    {ok, Tokens, _} = erl_scan:string(string:trim(Text, trailing, ".\n ") ++ "."),
    %% A macro is read as a variable.
    lists:all(fun is_form_or_expressions/1, in_parts([Token || Token <- Tokens, element(1, Token) =/= '?'])).

in_parts([]) ->
    [];
in_parts(Tokens) ->
    {Part, [Dot | Rest]} = lists:splitwith(fun(Token) -> element(1, Token) =/= dot end, Tokens),
    [Part ++ [Dot] | in_parts(Rest)].

is_form_or_expressions(Tokens) ->
    lists:any(fun({Read, _}) -> Read =:= ok end, [erl_parse:parse_form(Tokens), erl_parse:parse_exprs(Tokens)]).

configuration(Lines) ->
    Text = string:trim(lists:append(lists:join("\n", Lines)), both, " \n."),
    {ok, Tokens, _} = erl_scan:string(Text ++ "."),
    {ok, Term} = erl_parse:parse_term(Tokens),
    Term.

problems({py, Environment}) -> lists:append([of_pools(Pools) || {pools, Pools} <- Environment]);
problems({Other, _}) when Other =:= kernel; Other =:= deps -> [];
problems({Name, Options}) -> of_pools([{Name, Options}]).

of_pools(Pools) -> [Problem || {_, Options} <- Pools, is_map(Options), {error, Problem} <- [py_pool_options:check(Options)]].

run_page(Page) ->
    Found = run_blocks(filename:basename(Page), [Block || {"erlang", Block} <- blocks(Page)]),
    %% A page may have stopped the application, or left a pool.
    {ok, started} = py:start(),
    [ok = py:stop_pool(Pool) || Pool <- py_registry:pools(), Pool =/= default],
    Found.

run_blocks(Page, Blocks) ->
    {Count, Differences, _} = lists:foldl(
        fun(Block, Acc) -> lists:foldl(fun(Step, A) -> run_step(Page, Step, A) end, Acc, steps(Block)) end,
        {0, [], erl_eval:new_bindings()},
        Blocks
    ),
    {Count, lists:reverse(Differences)}.

run_step(Page, {Text, Expected}, {Count, Differences, Bindings}) ->
    settle(),
    {Actual, Next} = evaluate(Text, Bindings),
    case matches(Expected, Actual) of
        true -> {Count + 1, Differences, Next};
        false -> {Count + 1, [#{page => Page, typed => Text, shown => Expected, real => Actual} | Differences], Next}
    end.

%% A reader types slower than the calls that the lines before have given up are ended.
settle() -> py_eventually:equals(0, fun() -> lists:sum([Calls || #{in_flight := Calls} <- py:workers()]) end).

%% `{Typed, Shown}' for each prompt of a block; none where the block is no session.
steps([[N | _] = Line | Rest]) when N >= $0, N =< $9 ->
    case string:split(Line, "> ") of
        [_Number, Typed] -> typed(Typed, Rest);
        _ -> steps(Rest)
    end;
steps([_ | Rest]) ->
    steps(Rest);
steps([]) ->
    [].

typed(Text, Rest) ->
    case {is_complete(Text), Rest} of
        {false, [Line | More]} ->
            typed(Text ++ "\n" ++ Line, More);
        _ ->
            {Shown, More} = lists:splitwith(fun(Line) -> re:run(Line, "^[0-9]+> ") =:= nomatch end, Rest),
            [{Text, lists:append(lists:join("\n", Shown))} | steps(More)]
    end.

is_complete(Text) ->
    case erl_scan:string(Text) of
        {ok, Tokens, _} -> Tokens =/= [] andalso element(1, lists:last(Tokens)) =:= dot;
        {error, _, _} -> false
    end.

%% What a shell would show for a line, and the variables after it.
evaluate(Text, Bindings) ->
    {ok, Tokens, _} = erl_scan:string(Text),
    {ok, Expressions} = erl_parse:parse_exprs(Tokens),
    {Result, Leader} = py_output:of_call(fun() -> value_of(Expressions, Bindings) end),
    Printed = py_output:text(Leader),
    py_output:stop(Leader),
    case Result of
        {value, Value, Next} -> {Printed ++ lists:flatten(io_lib:format(shown_as(), [Value])), Next};
        {raised, Shown} -> {Printed ++ Shown, Bindings}
    end.

%% The keys of a map in their order: up to OTP 25 they were printed so.
shown_as() ->
    case list_to_integer(erlang:system_info(otp_release)) of
        Release when Release >= 26 -> "~tkp";
        _ -> "~tp"
    end.

value_of(Expressions, Bindings) ->
    try
        erl_eval:exprs(Expressions, Bindings)
    catch
        Class:Reason:Stack -> {raised, "** " ++ shown(Class, Reason, Stack)}
    end.

shown(Class, Reason, Stack) ->
    Options = #{stack_trim_fun => fun(Module, _, _) -> Module =:= erl_eval orelse Module =:= ?MODULE end},
    unicode:characters_to_list(erl_error:format_exception(Class, Reason, Stack, Options)).

%% Without white space; `...' matches anything; of a failure the beginning is enough.
matches(Expected, Actual) ->
    Pieces = string:split(squeezed(Expected), "...", all),
    Quoted = [re:replace(Piece, "[][\\\\.^$|?*+(){}]", "\\\\&", [global, unicode, {return, list}]) || Piece <- Pieces],
    End =
        case string:prefix(Expected, "** ") of
            nomatch -> "$";
            _ -> ""
        end,
    Pattern = "^" ++ lists:append(lists:join(".*", Quoted)) ++ End,
    re:run(squeezed(Actual), Pattern, [unicode, dotall, {capture, none}]) =:= match.

squeezed(Text) -> re:replace(Text, "\\s+", "", [global, unicode, {return, list}]).

write_module(Directory, ["# " ++ Name | _] = Lines) ->
    case filename:extension(Name) of
        ".py" ->
            File = filename:join(Directory, Name),
            ok = filelib:ensure_dir(File),
            ok = file:write_file(File, unicode:characters_to_binary([[Line, $\n] || Line <- Lines]));
        _ ->
            ok
    end;
write_module(_, _) ->
    ok.

%%% Completeness

every_relative_link_leads_to_a_file(_Config) ->
    Broken = [
        {filename:basename(Page), Target}
     || Page <- pages(), Target <- links(Page), not filelib:is_file(filename:join(filename:dirname(Page), Target))
    ],
    ?assertEqual([], Broken).

links(Page) ->
    case re:run(text(Page), "\\]\\(([^)\\s]+)\\)|\\b(?:src|srcset)=\"([^\"]+)\"", [global, {capture, all_but_first, list}]) of
        {match, Found} -> [hd(string:split(Link, "#")) || Match <- Found, Link <- Match, is_relative(Link)];
        nomatch -> []
    end.

is_relative("") -> false;
is_relative("#" ++ _) -> false;
is_relative(Link) -> re:run(Link, "^[a-z]+:") =:= nomatch.

%% `page.md#heading', or `#heading' on the same page.
every_anchor_is_a_heading(_Config) ->
    Dead = [
        {filename:basename(Page), Target ++ "#" ++ Anchor}
     || Page <- pages(), {Target, Anchor} <- anchors(Page), not lists:member(Anchor, headings(target(Page, Target)))
    ],
    ?assertEqual([], Dead).

anchors(Page) ->
    case re:run(text(Page), "\\]\\(([^)#\\s:]*)#([^)]+)\\)", [global, {capture, all_but_first, list}]) of
        {match, Found} -> [{Target, Anchor} || [Target, Anchor] <- Found];
        nomatch -> []
    end.

target(Page, "") -> Page;
target(Page, Target) -> filename:join(filename:dirname(Page), Target).

%% As a forge names them: small letters, a hyphen for a space, nothing for what is neither.
headings(Page) ->
    case re:run(text(Page), "^#+ (.*)$", [global, multiline, {capture, all_but_first, list}]) of
        {match, Found} ->
            [
                lists:flatten(string:replace(re:replace(string:lowercase(Heading), "[^a-z0-9 _-]", "", [global, {return, list}]), " ", "-", all))
             || [Heading] <- Found
            ];
        nomatch ->
            []
    end.

%% Written as `name/1', `name/0,1' or `name/0-3'.
every_function_of_py_is_documented(_Config) ->
    {match, Found} = re:run(docs(), "([a-zA-Z_]+|'[a-z-]+')/([0-9](?:[-,][0-9])*)", [global, {capture, all_but_first, list}]),
    Documented = [{unquoted(Name), Arity} || [Name, Arities] <- Found, Arity <- arities(Arities)],
    Exported = [{atom_to_list(F), A} || M <- [py, py_session], {F, A} <- M:module_info(exports), F =/= module_info],
    ?assertEqual([], lists:sort(Exported -- Documented)).

unquoted("'" ++ Name) -> lists:droplast(Name);
unquoted(Name) -> Name.

arities(Text) ->
    lists:append([
        case [list_to_integer(Number) || Number <- string:lexemes(Part, "-")] of
            [First, Last] -> lists:seq(First, Last);
            One -> One
        end
     || Part <- string:lexemes(Text, ",")
    ]).

%% Each is a row of its page's table, `| `size` | ...'.
every_option_is_documented(_Config) ->
    {ok, #{restart := Restart} = Pool} = py_pool_options:check(#{}),
    {error, {unknown_option, nothing, OfCalls}} = py_call_options:check(#{nothing => 0}),
    ?assertEqual([], (maps:keys(Pool) ++ maps:keys(Restart)) -- rows("servers.md")),
    ?assertEqual([], OfCalls -- rows("functions.md")),
    ?assertEqual([], [warm, max, persistent, timeout, owner, binaries] -- rows("sessions.md")),
    [
        ?assertEqual([], (OfMany -- OfCalls) -- rows("parallel.md"))
     || Kind <- [scatter, pmap, preduce], {error, {unknown_option, nothing, OfMany}} <- [py_parallel_options:check(Kind, #{nothing => 0})]
    ].

rows(Page) ->
    {match, Rows} = re:run(page(Page), "^\\| `([a-z_]+)` \\|", [global, multiline, {capture, all_but_first, list}]),
    [list_to_atom(Name) || [Name] <- Rows].

every_reason_is_documented(_Config) ->
    Reasons = members(py_error, reason) ++ members(py_error, down_reason) ++ members(py_error, ending) ++ members(py_launcher, reason),
    ?assert(length(Reasons) > 10),
    ?assertEqual([], [Reason || Reason <- Reasons, string:find(page("errors.md"), Reason) =:= nomatch]).

%% The members of a union that are atoms, or tuples with a head: `timeout', `{encode,'.
members(Module, Type) ->
    {ok, {_, [{abstract_code, {raw_abstract_v1, Forms}}]}} = beam_lib:chunks(code:which(Module), [abstract_code]),
    [Members] = [M || {attribute, _, type, {Name, {type, _, union, M}, []}} <- Forms, Name =:= Type],
    lists:append([member(Member) || Member <- Members]).

member({atom, _, Atom}) -> [atom_to_list(Atom)];
member({type, _, tuple, [{atom, _, Tag} | _]}) -> ["{" ++ atom_to_list(Tag) ++ ","];
member(_) -> [].

every_make_target_that_is_named_exists(_Config) ->
    {ok, Makefile} = file:read_file(filename:join(py_checkout:root(), "Makefile")),
    {match, Rules} = re:run(Makefile, "^([a-z][a-z -]*):", [global, multiline, {capture, all_but_first, list}]),
    Targets = lists:append([string:lexemes(Names, " ") || [Names] <- Rules]),
    {match, Named} = re:run(docs(), "(?:`|^\\$ )make ([a-z-]+)", [global, multiline, {capture, all_but_first, list}]),
    ?assertEqual([], lists:usort([Target || [Target] <- Named]) -- Targets).

%%% Pages

pages() ->
    Root = py_checkout:root(),
    [filename:join(Root, "README.md") | lists:sort(filelib:wildcard(filename:join([Root, "docs", "*.md"])))].

page(Name) -> text(filename:join([py_checkout:root(), "docs", Name])).

docs() -> lists:append([text(Page) || Page <- pages()]).

text(Page) ->
    {ok, Bytes} = file:read_file(Page),
    unicode:characters_to_list(Bytes).

%% `{Language, Lines}' of each fenced block.
blocks(Page) -> blocks(string:split(text(Page), "\n", all), []).

blocks(["```" ++ Language | Rest], Acc) ->
    {Lines, [_ | More]} = lists:splitwith(fun(Line) -> string:trim(Line) =/= "```" end, Rest),
    blocks(More, [{string:trim(Language), Lines} | Acc]);
blocks([_ | Rest], Acc) ->
    blocks(Rest, Acc);
blocks([], Acc) ->
    lists:reverse(Acc).
