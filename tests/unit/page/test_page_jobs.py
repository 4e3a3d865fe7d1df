"""The web page shows jobs: how far they are, what they gave, what failed."""

from playwright.sync_api import expect

from tests.browsers import choose, needs_browser

pytestmark = needs_browser


def jobs(page):
    page.get_by_text("Jobs", exact=True).click()


def test_jobs_show_how_far_how_fast_and_what_failed(page, pod):
    pod.batch()
    jobs(page)
    card = page.locator(".card.job")
    expect(card).to_contain_text("s3://b/in/")
    expect(card).to_contain_text("At work")
    expect(card).to_contain_text("3 of 4 files")
    expect(card).to_contain_text("1 h 30 min of about 2 h 0 min of video")
    expect(card).to_contain_text("1 at work · 25 frames/s · 2 min left")
    expect(card.get_by_role("progressbar")).to_have_attribute("value", "0.75")
    expect(card.get_by_role("img")).to_have_attribute(
        "aria-label", "Throughput over 25 s: up to 8.5 seconds of video a second"
    )
    expect(page.locator("#drop")).to_be_hidden()
    card.get_by_text("1 failed").click()
    row = card.get_by_role("row", name="bad.mp4")
    expect(row).to_contain_text("it breaks off after 3 frames")


def test_a_job_ends_and_what_failed_is_tried_again(page, pod):
    view = pod.batch()
    jobs(page)
    card = page.locator(".card.job")
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    view["status"] = "done"
    expect(card).to_contain_text("Done")
    expect(page.locator("#status")).to_have_text("s3://b/in/: Done")
    expect(card.get_by_role("button", name="Cancel")).to_be_hidden()
    card.get_by_role("button", name="Try the failed ones again").click()
    expect(card).to_contain_text("Waiting")
    view["status"] = "running"
    expect(card).to_contain_text("At work")
    card.get_by_role("button", name="Cancel").click()
    expect(card).to_contain_text("Cancelled")
    card.get_by_role("button", name="Remove s3://b/in/ from the list").click()
    expect(card).to_have_count(0)
    expect(page.locator("#no-jobs")).to_have_text("No jobs yet.")


def test_results_of_a_job_are_linked_page_by_page(page, pod):
    pod.batch("done")
    jobs(page)
    card = page.locator(".card.job")
    card.get_by_text("Results").click()
    links = card.get_by_role("link")
    expect(links).to_have_count(2)
    expect(links.first).to_have_attribute("href", f"{pod.s3}/0")
    card.get_by_role("button", name="More").click()
    expect(links).to_have_count(3)
    expect(card.get_by_role("button", name="More")).to_be_hidden()


def test_a_training_is_shown_with_its_checkpoint(page, pod):
    state = {"checkpoint_url": f"{pod.s3}/c", "logs": [{"name": "log", "url": f"{pod.s3}/l"}]}
    progress = {"fraction": 0.4, "eta_seconds": None, "fps": None}
    pod.batch(kind="training", model="rigger", input=None, items=None, failures=None, pace=None)
    (view,) = pod.jobs.values()
    view.update(training=state, progress=progress, output=None)
    jobs(page)
    card = page.locator(".card.job")
    expect(card).to_contain_text("Training of rigger")
    expect(card).to_contain_text("40%")
    card.get_by_text("Results").click()
    expect(card.get_by_role("link")).to_have_count(2)


def test_files_that_come_in_leave_the_jobs(page, files):
    jobs(page)
    choose(page, files / "photo.jpg")
    expect(page.locator(".card.done")).to_be_visible()
    expect(page.locator("#jobs")).to_be_hidden()
